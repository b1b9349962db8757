"""Subscriptions over websockets: executed and serialised once for all subscribers at the same position of a stream.

All clients that may subscribe see the same graph, so the messages do not depend on the client.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import (
    SKIP,
    DocumentNode,
    FieldNode,
    OperationDefinitionNode,
    OperationType,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    VisitorAction,
    get_operation_ast,
    visit,
)
from strawberry.types.execution import ExecutionResult, PreExecutionError

from app.graphql.serving.schema import Schema
from app.graphql.shared.context import OperationContext
from app.graphql.shared.positions import BEGINNING_ARGUMENTS, Position
from app.notifications.shared_streams import SharedStreams

MESSAGE_BYTES = 500
"""Memory that a message takes besides its payload."""


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """The operation that a client sends."""

    query: str
    operation_name: str | None
    variables: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """The JSON of a payload. ``is_refusal``: it is the list of errors of an operation that was not executed."""

    payload: str
    is_refusal: bool
    cursor: Hashable

    @property
    def size_bytes(self) -> int:
        return MESSAGE_BYTES + len(self.payload)


class SharedSubscriptions:
    """The subscriptions of all websockets of a view."""

    def __init__(self, schema: Schema, encode_json: Callable[[object], str]) -> None:
        self._schema = schema
        self._encode_json = encode_json
        self.streams: SharedStreams[Message] = SharedStreams()

    def messages(
        self, request: OperationRequest, context: OperationContext
    ) -> AsyncGenerator[Message, None] | None:
        """The messages of a subscription, to be closed with ``aclosing``; ``None`` if the operation is not one."""
        document = self._schema.document(request.query)
        operation = document and get_operation_ast(document, request.operation_name)
        if not document or not operation or operation.operation is not OperationType.SUBSCRIPTION:
            return None
        beginning, lasting = split_variables(request.variables, beginning_variables(document, operation))
        stream = (request.query, request.operation_name, lasting)

        def open_at(cursor: Hashable | None) -> AsyncGenerator[Message, None]:
            return self._execute(request, context, Position(cursor))

        return self.streams.follow(stream, beginning, open_at)

    async def _execute(
        self, request: OperationRequest, context: OperationContext, position: Position
    ) -> AsyncGenerator[Message, None]:
        results = await self._schema.stream(
            request.query,
            dict(request.variables),
            context_value=context,
            root_value=position,
            operation_name=request.operation_name,
        )
        async with aclosing(results):
            async for result in results:
                assert isinstance(result, ExecutionResult)
                payload = self._encode_json(payload_of(result))
                yield Message(payload, isinstance(result, PreExecutionError), position.cursor)


def payload_of(result: ExecutionResult) -> object:
    """The payload of a ``next`` message, or of an ``error`` message if nothing was executed."""
    errors = [error.formatted for error in result.errors or ()]
    if isinstance(result, PreExecutionError):
        return errors
    payload: dict[str, object] = {"data": result.data}
    if errors:
        payload["errors"] = errors
    if result.extensions:
        payload["extensions"] = result.extensions
    return payload


def split_variables(variables: Mapping[str, Any], names: frozenset[str]) -> tuple[bytes, bytes]:
    """The variables with these names, and the others, each as canonical JSON: equal variables give equal bytes."""
    parts: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    for name, value in variables.items():
        parts[name not in names][name] = value
    chosen, others = (orjson.dumps(part, option=orjson.OPT_SORT_KEYS) for part in parts)
    return chosen, others


def beginning_variables(document: DocumentNode, operation: OperationDefinitionNode) -> frozenset[str]:
    """The variables that say where the stream begins, and nothing else.

    Two requests for the same stream are equal but for these.
    """
    begin = {
        argument.value.name.value
        for field in operation.selection_set.selections
        if isinstance(field, FieldNode)
        for argument in field.arguments or ()
        if isinstance(argument.value, VariableNode) and argument.name.value in BEGINNING_ARGUMENTS
    }
    uses = VariableUses()
    visit(document, uses)
    return frozenset(name for name in begin if uses.count[name] == 1)


class VariableUses(Visitor):
    """Counts how often each variable is used in a document."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def enter_variable_definition(self, _node: VariableDefinitionNode, *_: object) -> VisitorAction:
        return SKIP

    def enter_variable(self, node: VariableNode, *_: object) -> None:
        self.count[node.name.value] += 1
