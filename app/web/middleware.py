"""The middleware that every request passes before it reaches a route, as pure ASGI."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from app.bearer_token import is_bearer
from app.telemetry import bind_log_ids

MAX_BODY_BYTES = 1_000_000
GRAPHQL_PATH = "/graphql"
_OPEN_PATHS = frozenset({"/", "/health", "/health/ready"})
_OPEN_FOLDERS = ("/assets/",)
HOOKS_FOLDER = "/hooks/"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def guards(
    *, allowed_hosts: Sequence[str], token: str | None = None, max_body_bytes: int = MAX_BODY_BYTES
) -> list[Middleware]:
    """The middleware of the server, outermost first.

    ``allowed_hosts``: names and addresses (IPv6 without brackets) that clients may use for the server, or ``*``.
    ``token``: the bearer token that clients must send; ``None`` opens the API to every client that can connect.
    """
    return [
        Middleware(RequestIdMiddleware),
        Middleware(HostMiddleware, allowed_hosts=allowed_hosts),
        *([Middleware(BearerTokenMiddleware, token=token)] if token else []),
        Middleware(BodyLimitMiddleware, max_body_bytes=max_body_bytes),
    ]


def cross_origin(origins: Sequence[str]) -> list[Middleware]:
    """Lets browsers call the API from the allowed origins, without credentials: there are no cookies."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("GET", "POST"),
            allow_headers=("authorization", "content-type"),
            max_age=600,
        )
    ]


class RequestIdMiddleware:
    """Gives each request an id: in its log records and in the response header ``X-Request-ID``."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        # Never reset: each request has its own context, and the server logs its failures there.
        bind_log_ids(request_id=request_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


class HostMiddleware:
    """Refuses requests for other host names: a web page can make its own name resolve to this machine."""

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str]) -> None:
        names = [f"[{name}]" if ":" in name and not name.startswith("[") else name for name in allowed_hosts]
        self.app = TrustedHostMiddleware(app, names, www_redirect=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and len(Headers(scope=scope).getlist("host")) > 1:
            await PlainTextResponse("More than one Host header", status_code=400)(scope, receive, send)
            return
        await self.app(scope, receive, send)


class BearerTokenMiddleware:
    """Requires ``Authorization: Bearer <token>`` except for health checks, signed calls and the page for browsers.

    The GraphQL websocket passes, because browsers can't set its headers: the view checks the token in
    ``connection_init``.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_open(scope) and not self._is_authorized(scope):
            await _unauthorized()(scope, receive, send)
        elif scope["type"] == "websocket" and scope["path"] != GRAPHQL_PATH:
            await WebSocketClose()(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _is_authorized(self, scope: Scope) -> bool:
        return is_bearer(Headers(scope=scope).get("authorization", ""), self._token)


class BodyLimitMiddleware:
    """Refuses larger bodies; on the GraphQL endpoint with a GraphQL error, which its clients can read."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = RequestBodyLimitMiddleware(app, max_body_bytes)
        message = f"The body of a request must not have more than {max_body_bytes} bytes."
        self._refusal = {"errors": [{"message": message, "extensions": {"code": "BAD_REQUEST"}}]}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != GRAPHQL_PATH:
            await self.app(scope, receive, send)
            return
        refused = False

        async def send_refusal_as_graphql(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] == 413:
                refused = True
                await JSONResponse(self._refusal, 413)(scope, receive, send)
            elif not refused:
                await send(message)

        await self.app(scope, receive, send_refusal_as_graphql)


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    if scope["method"] not in ("GET", "HEAD"):
        return scope["method"] == "POST" and path.startswith(HOOKS_FOLDER)
    if path == GRAPHQL_PATH:
        return _asks_for_page(scope)
    return path in _OPEN_PATHS or path.startswith(_OPEN_FOLDERS)


def _asks_for_page(scope: Scope) -> bool:
    """Whether a browser opens GraphiQL: a GET for HTML without parameters, which could be an operation."""
    return "text/html" in Headers(scope=scope).get("accept", "") and not scope["query_string"]


def _unauthorized() -> JSONResponse:
    error = {"message": "This server requires a bearer token.", "extensions": {"code": "UNAUTHENTICATED"}}
    return JSONResponse({"errors": [error]}, 401, {"WWW-Authenticate": 'Bearer realm="ml-pipeline-thing"'})
