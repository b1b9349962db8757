"""graphql-transport-ws: malformed messages are refused with a reason, and a wrong operation ends only itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol, cast

from graphql import GraphQLError
from starlette.websockets import WebSocketDisconnect
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
    Operation,
)
from strawberry.subscriptions.protocols.graphql_transport_ws.types import CompleteMessage

from app.graphql.serving.schema import Schema
from app.graphql.serving.shared_subscriptions import Message, OperationRequest, SharedSubscriptions
from app.graphql.shared.context import OperationContext

_CLOSE_REASON_BYTES = 120  # a control frame holds 125, two of them for the code


class SubscribingView(Protocol):
    """What the handler needs of its view, besides what Strawberry's handler needs."""

    subscriptions: SharedSubscriptions

    def encode_json(self, data: object) -> str: ...


class WebSocketAdapter(ASGIWebSocketAdapter):
    """Strawberry's adapter, with a method that sends a text that is JSON already."""

    async def send_text(self, text: str) -> None:
        try:
            await self.ws.send_text(text)
        except WebSocketDisconnect as error:
            raise WebSocketDisconnected from error


class TransportHandler(BaseGraphQLTransportWSHandler[OperationContext, None]):
    """Strawberry's handler with strict messages and shared subscriptions."""

    schema: Schema
    websocket: WebSocketAdapter

    @property
    def _subscribing_view(self) -> SubscribingView:
        return cast(SubscribingView, self.view)

    async def handle_message(self, message: Any) -> None:
        if is_subscribe(message) and isinstance(message.get("payload"), dict):
            message["payload"] = self.schema.with_document(message["payload"])
        problem = problem_of(message)
        if problem is not None:
            await self.handle_invalid_message(problem)
            return
        if message["type"] == "connection_init" and message.get("payload") is None:
            message.pop("payload", None)
        await super().handle_message(message)

    async def handle_invalid_message(self, error_message: str) -> None:
        reason = error_message.encode(errors="replace")[:_CLOSE_REASON_BYTES].decode(errors="ignore")
        await super().handle_invalid_message(reason)

    async def handle_task_exception(self, error: Exception) -> None:
        """Log the error, unless the client has disconnected: that is not a server error."""
        if not isinstance(error, WebSocketDisconnected):
            await super().handle_task_exception(error)

    async def run_operation(self, operation: Operation[OperationContext, None]) -> None:
        request = OperationRequest(operation.query, operation.operation_name, operation.variables or {})
        messages = self._subscribing_view.subscriptions.messages(request, self.context)
        if messages is None:
            await super().run_operation(operation)
            return
        try:
            async with aclosing(messages):
                await self._deliver(operation, messages)
        except WebSocketDisconnected:
            return
        except Exception as error:
            await self.handle_task_exception(error)
            await operation.send_initial_errors(
                [GraphQLError("Internal error", extensions={"code": "INTERNAL"})]
            )

    async def _deliver(
        self, operation: Operation[OperationContext, None], messages: AsyncIterator[Message]
    ) -> None:
        start = f'{{"id":{self._subscribing_view.encode_json(operation.id)},"type":'
        async for message in messages:
            if message.is_refusal:
                operation.completed = True
                self.forget_id(operation.id)
            kind = "error" if message.is_refusal else "next"
            await self.websocket.send_text(f'{start}"{kind}","payload":{message.payload}}}')
        await operation.send_operation_message(CompleteMessage(id=operation.id, type="complete"))

    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:
        """Do not close the socket for a syntax error: its other operations go on."""
        return None


def is_subscribe(message: Any) -> bool:
    return isinstance(message, dict) and message.get("type") == "subscribe"


def problem_of(message: Any) -> str | None:
    """What is wrong with the form of a message, or ``None``."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return "A message must be an object with a type"
    if message["type"] in ("subscribe", "complete") and not (
        isinstance(message.get("id"), str) and message["id"]
    ):
        return "The id of the message must be a string that is not empty"
    return problem_of_operation(message.get("payload")) if message["type"] == "subscribe" else None


def problem_of_operation(payload: Any) -> str | None:
    if not isinstance(payload, dict) or not isinstance(payload.get("query"), str):
        return "The payload must be an object whose query is a string"
    for name in ("variables", "extensions"):
        if not isinstance(payload.get(name), (dict, type(None))):
            return f"{name} must be an object"
    if not isinstance(payload.get("operationName"), (str, type(None))):
        return "operationName must be a string"
    return None
