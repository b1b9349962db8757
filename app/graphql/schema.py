"""Assembles the schema; ``schema.graphql`` at the top level is its printed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import strawberry
from graphql import DocumentNode, GraphQLError
from strawberry.extensions.runner import SchemaExtensionsRunner
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.types.execution import ExecutionContext, ExecutionResult, PreExecutionError
from strawberry.types.graphql import OperationType

from app.graphql.artifacts import ArtifactMutation
from app.graphql.documents import DocumentCache
from app.graphql.errors import public_error
from app.graphql.executor import CompiledExecutor
from app.graphql.mutations import Mutation
from app.graphql.operation import OperationScope
from app.graphql.queries import Query
from app.graphql.scalars import SCALARS
from app.graphql.schedules import ScheduleMutation, ScheduleQuery
from app.graphql.subscriptions import Subscription
from app.graphql.trusted import TrustedDocuments, load_trusted_documents, untrusted
from app.graphql.types.events import EVENT_TYPES
from app.graphql.webhooks import WebhookMutation, WebhookQuery


@strawberry.type(name="Query", description="The roots of all reads.")
class AllQueries(Query, ScheduleQuery, WebhookQuery):
    pass


@strawberry.type(
    name="Mutation", description="All changes. Expected failures are in the errors of the payload."
)
class AllMutations(Mutation, ArtifactMutation, ScheduleMutation, WebhookMutation):
    pass


class SubscriptionOverHTTP(InvalidOperationTypeError):
    """A stream was asked for where there is one answer only."""

    def __init__(self) -> None:
        super().__init__(OperationType.SUBSCRIPTION)

    def as_http_error_reason(self, method: str) -> str:
        return "subscriptions need a websocket (graphql-transport-ws) at this address"


class Schema(strawberry.Schema):
    """The schema of the server: a cache of documents, and no error that tells more than it should."""

    def __init__(self) -> None:
        super().__init__(
            query=AllQueries,
            mutation=AllMutations,
            subscription=Subscription,
            types=EVENT_TYPES,
            execution_context_class=CompiledExecutor,
            extensions=[lambda: OperationScope(self._documents)],
            config=StrawberryConfig(scalar_map=SCALARS, sort_schema=True),
        )
        self._documents = DocumentCache(self._schema)
        self._trusted: TrustedDocuments | None = None

    def trust_only(self, path: Path) -> None:
        """Refuse all documents but those of the list in the file; raises ``StartupError``."""
        self._trusted = load_trusted_documents(path, self._documents)
        self._documents.trust_only(self._trusted.texts.values())

    def with_document(self, request: dict[str, Any]) -> dict[str, Any]:
        """The request of a client with the text of the trusted document which it may name by an identifier."""
        if self._trusted is None:
            return request
        return {**request, "query": self._trusted.text_named_by(request)}

    def document(self, query: str) -> DocumentNode | None:
        """The parsed query, unless it can't be parsed or executed."""
        try:
            return self._documents.prepare(query).document if self._documents.accepts(query) else None
        except (GraphQLError, RecursionError):
            return None

    async def execute(self, *arguments: Any, **options: Any) -> ExecutionResult:
        """The answer to an operation which has one; the view tells what is raised here."""
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
        # Every operation comes through here, on whichever way, and nothing of it has been parsed yet.
        if context.query and not self._documents.accepts(context.query):
            return PreExecutionError(data=None, errors=[untrusted()])
        return await super()._prepare_operation_async(context, extensions_runner)

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Replace the errors in place: every result passes here, on whichever way it goes out."""
        errors[:] = [public_error(error, execution_context) for error in errors]


def build_schema(trusted_documents: Path | None = None) -> Schema:
    """The schema, which executes nothing but the list in the file if there is one."""
    schema = Schema()
    if trusted_documents is not None:
        schema.trust_only(trusted_documents)
    return schema


def printed_schema() -> str:
    """What belongs into ``schema.graphql``."""
    return build_schema().as_str() + "\n"
