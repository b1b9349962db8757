"""The check of a client's bearer token, for HTTP requests and websockets alike."""

from __future__ import annotations

import hmac


def is_bearer(authorization: str, token: str) -> bool:
    """Whether ``authorization`` is ``Bearer <token>``; takes the same time wherever the two differ."""
    scheme, _, given = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(
        given.strip().encode(errors="surrogatepass"), token.encode()
    )
