"""The media type of a response: GraphQL over HTTP lets the client choose between two."""

from __future__ import annotations

JSON = "application/json"
GRAPHQL_RESPONSE = "application/graphql-response+json"
_WILDCARDS = ("*/*", "application/*")


def negotiate(accept: str | None) -> str | None:
    """The media type of the response: JSON if the client states none, ``None`` if it accepts neither."""
    if not accept:
        return JSON
    candidates = []
    for part in accept.split(","):
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        quality = quality_of(parameters)
        if quality > 0:
            # At equal quality, an exact name wins over a wildcard, and the newer type over plain JSON.
            candidates += [(quality, 2, GRAPHQL_RESPONSE)] if name == GRAPHQL_RESPONSE else []
            candidates += [(quality, 1, JSON)] if name == JSON else []
            candidates += [(quality, 0, JSON)] if name in _WILDCARDS else []
    return max(candidates)[2] if candidates else None


def quality_of(parameters: list[str]) -> float:
    """The ``q`` of a media range; 0 if it is no number."""
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0
