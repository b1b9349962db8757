"""graphql-transport-ws: refuses malformed messages politely, and lets one wrong operation harm only itself."""

from __future__ import annotations

from typing import Any

from graphql import GraphQLError
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler

from app.graphql.context import Context
from app.graphql.schema import Schema

_CLOSE_REASON_BYTES = 120  # a control frame holds 125, two of them for the code


class TransportHandler(BaseGraphQLTransportWSHandler[Context, None]):
    """Strawberry's handler with strict messages."""

    schema: Schema

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

    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:
        """Never close the socket for a syntax error: the other operations on it are fine."""
        return None


def is_subscribe(message: Any) -> bool:
    return isinstance(message, dict) and message.get("type") == "subscribe"


def problem_of(message: Any) -> str | None:
    """What is wrong with the shape of a message, or ``None``."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return "A message must be an object with a type"
    if message["type"] in ("subscribe", "complete") and not (
        isinstance(message.get("id"), str) and message["id"]
    ):
        return "The message needs an id, which is a string"
    return problem_of_operation(message.get("payload")) if message["type"] == "subscribe" else None


def problem_of_operation(payload: Any) -> str | None:
    if not isinstance(payload, dict) or not isinstance(payload.get("query"), str):
        return "The payload must be an object with a query, which is a string"
    for name in ("variables", "extensions"):
        if not isinstance(payload.get(name), (dict, type(None))):
            return f"{name} must be an object"
    if not isinstance(payload.get("operationName"), (str, type(None))):
        return "operationName must be a string"
    return None
