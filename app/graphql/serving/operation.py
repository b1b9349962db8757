"""What surrounds the execution of every operation: its own context, its limits, and the report of its cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from graphql import GraphQLError
from strawberry.extensions import SchemaExtension
from strawberry.types.execution import StreamExecutionResult
from strawberry.types.graphql import OperationType

from app.graphql.serving.documents import PARSE_LIMITS, DocumentCache, PreparedDocument
from app.graphql.serving.limits import MAX_COST, check_document
from app.graphql.shared.context import OperationContext

TIMEOUT_SECONDS = 10.0


class OperationScope(SchemaExtension):
    """Gives an operation its own loaders and enforces the limits of cost and time."""

    def __init__(self, documents: DocumentCache) -> None:
        super().__init__()
        self._documents = documents
        self._prepared: PreparedDocument | None = None
        self._cost: int | None = None

    def on_operation(self) -> Iterator[None]:
        # Strawberry makes one context per websocket. Loaders shared by all its operations would return stale rows.
        self.execution_context.context = self._context.fork()
        try:
            yield
        finally:
            self._context.stop_loading()

    def on_parse(self) -> Iterator[None]:
        execution = self.execution_context
        try:
            self._prepared = self._documents.prepare(execution.query or "")
            execution.graphql_document = self._prepared.document
        except GraphQLError:
            # Strawberry parses again and fails again, which reports the error as each transport does.
            execution.parse_options.update(PARSE_LIMITS)  # type: ignore[typeddict-item]
        yield

    def on_validate(self) -> Iterator[None]:
        execution = self.execution_context
        assert self._prepared is not None
        # Not ``operation_name``, which is the name of the first operation if the client sent none.
        name = execution._provided_operation_name
        try:
            cost = check_document(
                self._documents.schema, self._prepared.document, name, execution.variables or {}
            )
        except GraphQLError as error:
            execution.pre_execution_errors = [error]
        else:
            self._cost = None if execution.operation_type is OperationType.SUBSCRIPTION else cost
            execution.pre_execution_errors = self._documents.validation_errors(self._prepared)
        yield

    async def on_execute(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS) as deadline:
                self._context.deadline = deadline
                yield
        except TimeoutError:
            message = f"The operation took longer than {TIMEOUT_SECONDS:g} seconds."
            raise GraphQLError(message, extensions={"code": "TIMEOUT"}) from None

    def on_stream_result(self, result: StreamExecutionResult) -> Iterator[None]:
        yield
        self._context.forget_loaded()

    def get_results(self) -> dict[str, Any]:
        if self._cost is None:
            return {}
        statements = self._context.reader.statements
        return {"cost": {"cost": self._cost, "limit": MAX_COST, "sqlStatements": statements}}

    @property
    def _context(self) -> OperationContext:
        context: OperationContext = self.execution_context.context
        return context
