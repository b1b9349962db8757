"""The HTTP and websocket endpoint: Strawberry's, made to follow GraphQL over HTTP and to tolerate faulty clients."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from cross_web import HTTPException, StarletteRequestAdapter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http import GraphQLHTTPResponse
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types.execution import ExecutionResult, PreExecutionError
from strawberry.types.unset import UnsetType

from app.bearer_token import is_bearer
from app.domain.clients import CLIENT_HEADER
from app.graphql.serving.media import GRAPHQL_RESPONSE, JSON, negotiate
from app.graphql.serving.schema import Schema
from app.graphql.serving.shared_subscriptions import SharedSubscriptions
from app.graphql.serving.websocket import TransportHandler, WebSocketAdapter
from app.graphql.shared.context import ContextFactory, OperationContext

CONNECTION_INIT_TIMEOUT = dt.timedelta(seconds=5)
MAX_OPERATIONS_PER_SOCKET = 20


class NegotiatedResponse(Response):
    """Carries the negotiated media type from the start of a request to its response."""

    accepted = JSON


class RequestAdapter(StarletteRequestAdapter):
    """Hides the parameters of the content type from Strawberry, whose parser fails on unusual ones. None is needed."""

    @property
    def content_type(self) -> str | None:
        return (super().content_type or "").partition(";")[0].strip().lower()


class GraphQLView(GraphQL[OperationContext, None]):
    """An ASGI application for ``/graphql``.

    ``page`` answers a browser's GET. If there is a ``token``, websocket clients must send it in ``connection_init``,
    which HTTP middleware can't read. Middleware must limit the size of bodies.
    """

    graphql_transport_ws_handler_class = TransportHandler
    request_adapter_class = RequestAdapter
    websocket_adapter_class = WebSocketAdapter
    schema: Schema

    def __init__(
        self,
        schema: Schema,
        contexts: ContextFactory,
        *,
        page: Callable[[Request], Response],
        token: str | None = None,
        allowed_origins: tuple[str, ...] = (),
    ) -> None:
        super().__init__(
            schema,
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=CONNECTION_INIT_TIMEOUT,
            max_subscriptions_per_connection=MAX_OPERATIONS_PER_SOCKET,
            allowed_origins=allowed_origins,
        )
        self.subscriptions = SharedSubscriptions(schema, self.encode_json)
        self._contexts = contexts
        self._page = page
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await self.run(request)
        except HTTPException as error:
            response = refusal(request, error)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def get_context(
        self, request: Request | WebSocket, response: Response | WebSocket
    ) -> OperationContext:
        headers = request.headers
        return self._contexts(authorization=headers.get("authorization"), client=headers.get(CLIENT_HEADER))

    async def on_ws_connect(self, context: OperationContext) -> UnsetType | dict[str, object] | None:
        if self._token is not None and not has_token(context, self._token):
            raise ConnectionRejectionError
        return await super().on_ws_connect(context)

    def should_render_graphql_ide(self, request: Any) -> bool:
        """Only a browser's GET without an operation gets the page."""
        accepts = request.headers.get("accept", "")
        asks = request.query_params.keys() & {"query", "documentId", "extensions"}
        return request.method == "GET" and not asks and "text/html" in accepts

    async def render_graphql_ide(self, request: Request) -> Response:
        return self._page(request)

    async def get_sub_response(self, request: Request | WebSocket) -> NegotiatedResponse:
        response = NegotiatedResponse()
        response.status_code = None  # type: ignore[assignment]  # Strawberry's convention for: not set by a resolver
        del response.headers["content-length"]
        response.accepted = negotiate(request.headers.get("accept")) or JSON
        return response

    async def process_result(self, request: Request, result: ExecutionResult) -> GraphQLHTTPResponse:
        data = await super().process_result(request, result)
        if is_request_error(result):
            data.pop("data", None)
        return data

    def create_response(
        self, response_data: GraphQLHTTPResponse | list[GraphQLHTTPResponse], sub_response: Response
    ) -> Response:
        assert isinstance(sub_response, NegotiatedResponse)
        failed = "data" not in response_data and sub_response.accepted == GRAPHQL_RESPONSE
        response = Response(
            orjson.dumps(response_data),
            sub_response.status_code or (400 if failed else 200),
            media_type=f"{sub_response.accepted}; charset=utf-8",
        )
        response.headers.raw.extend(sub_response.headers.raw)
        response.background = sub_response.background
        return response

    def encode_json(self, data: object) -> str:
        # Not bytes: Strawberry would send them as binary frames, which clients of graphql-transport-ws refuse.
        return orjson.dumps(data).decode()

    def decode_json(self, data: str | bytes) -> object:
        return orjson.loads(data)

    def parse_json(self, data: str | bytes) -> Any:
        parsed = super().parse_json(data)
        if not isinstance(parsed, dict):
            raise HTTPException(400, "The request must be one JSON object")
        # A body comes as bytes. Text is the variables or extensions in the URL of a GET.
        return self.schema.with_document(parsed) if isinstance(data, bytes) else parsed

    def parse_query_params(self, params: Any) -> dict[str, Any]:
        return self.schema.with_document(super().parse_query_params(params))


def refusal(request: Request, error: HTTPException) -> Response:
    """The response to a request that contains no operation."""
    unsupported = error.reason == "Unsupported content type"
    return Response(
        orjson.dumps({"errors": [{"message": error.reason, "extensions": {"code": "BAD_REQUEST"}}]}),
        415 if unsupported else error.status_code,
        {"allow": "GET, POST"} if error.status_code == 405 else None,
        media_type=negotiate(request.headers.get("accept")) or JSON,
    )


def is_request_error(result: ExecutionResult) -> bool:
    """Whether the operation was refused before its execution: its response has no ``data`` key."""
    if not result.errors or result.data is not None:
        return False
    return isinstance(result, PreExecutionError) or all(error.path is None for error in result.errors)


def has_token(context: OperationContext, token: str) -> bool:
    """Whether the payload of ``connection_init`` or the header of the handshake contains the token."""
    given = bearer_of(context.connection_params or {}) or context.authorization or ""
    return is_bearer(given, token)


def bearer_of(params: Mapping[str, Any]) -> str | None:
    values = [value for name, value in params.items() if name.lower() == "authorization"]
    return values[0] if values and isinstance(values[0], str) else None
