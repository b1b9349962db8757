"""The schema as it is served: with a cache of documents, and with internal errors masked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import strawberry
from graphql import DocumentNode, GraphQLError
from strawberry.extensions.runner import SchemaExtensionsRunner
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.types.execution import ExecutionContext, ExecutionResult, PreExecutionError
from strawberry.types.graphql import OperationType

from app.compiled_graphql import CompiledExecutor
from app.graphql.serving.documents import DocumentCache
from app.graphql.serving.operation import OperationScope
from app.graphql.serving.trusted import TrustedDocuments, load_trusted_documents, untrusted
from app.graphql.shared.errors import public_error
from app.graphql.shared.scalars import SCALARS


class SubscriptionOverHTTP(InvalidOperationTypeError):
    """A subscription was sent over HTTP, which has one response only."""

    def __init__(self) -> None:
        super().__init__(OperationType.SUBSCRIPTION)

    def as_http_error_reason(self, method: str) -> str:
        return "subscriptions need a websocket (graphql-transport-ws) at this address"


class Schema(strawberry.Schema):
    """The schema of the server.

    It caches documents and masks unexpected errors. ``compiled`` chooses what executes operations: compiled plans or
    graphql-core.
    """

    def __init__(
        self, query: type, mutation: type, subscription: type, types: Iterable[type], *, compiled: bool = True
    ) -> None:
        super().__init__(
            query=query,
            mutation=mutation,
            subscription=subscription,
            types=types,
            execution_context_class=CompiledExecutor if compiled else None,
            extensions=[lambda: OperationScope(self._documents)],
            config=StrawberryConfig(scalar_map=SCALARS, sort_schema=True),
        )
        self._documents = DocumentCache(self._schema)
        self._trusted: TrustedDocuments | None = None

    def trust_only(self, path: Path) -> None:
        """Execute only the documents listed in the file; raises ``StartupError``."""
        self._trusted = load_trusted_documents(path, self._documents)
        self._documents.trust_only(self._trusted.texts.values())

    def with_document(self, request: dict[str, Any]) -> dict[str, Any]:
        """A client's request with the text of the trusted document that the request names by an identifier."""
        if self._trusted is None:
            return request
        return {**request, "query": self._trusted.text_named_by(request)}

    def document(self, query: str) -> DocumentNode | None:
        """The parsed query; ``None`` if it can't be parsed or is not trusted."""
        try:
            return self._documents.prepare(query).document if self._documents.accepts(query) else None
        except (GraphQLError, RecursionError):
            return None

    async def execute(self, *arguments: Any, **options: Any) -> ExecutionResult:
        """The response to a query or mutation; the view reports what this raises."""
        allowed = options.pop("allowed_operation_types", None) or OperationType
        options["allowed_operation_types"] = set(allowed) - {OperationType.SUBSCRIPTION}
        try:
            return await super().execute(*arguments, **options)
        except InvalidOperationTypeError as error:
            if error.operation_type is OperationType.SUBSCRIPTION:
                raise SubscriptionOverHTTP from None
            raise

    async def _prepare_operation_async(
        self, context: ExecutionContext, extensions_runner: SchemaExtensionsRunner
    ) -> PreExecutionError | None:
        # Every operation of every transport passes here before it is parsed.
        if context.query and not self._documents.accepts(context.query):
            return PreExecutionError(data=None, errors=[untrusted()])
        return await super()._prepare_operation_async(context, extensions_runner)

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Replace the errors in place by public ones: every result of every transport passes here."""
        errors[:] = [public_error(error, execution_context) for error in errors]
