"""Assembles the schema; ``schema.graphql`` at the top level is its printed form."""

from __future__ import annotations

import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.types.execution import ExecutionContext

from app.graphql.documents import DocumentCache
from app.graphql.errors import public_error
from app.graphql.mutations import Mutation
from app.graphql.operation import OperationScope
from app.graphql.queries import Query
from app.graphql.scalars import SCALARS
from app.graphql.schedules import ScheduleMutation, ScheduleQuery
from app.graphql.subscriptions import Subscription
from app.graphql.types.events import EVENT_TYPES
from app.graphql.webhooks import WebhookMutation


@strawberry.type(name="Query", description="The roots of all reads.")
class AllQueries(Query, ScheduleQuery):
    pass


@strawberry.type(
    name="Mutation", description="All changes. Expected failures are in the errors of the payload."
)
class AllMutations(Mutation, ScheduleMutation, WebhookMutation):
    pass


class Schema(strawberry.Schema):
    """The schema of the server: a cache of documents, and no error that tells more than it should."""

    def __init__(self) -> None:
        super().__init__(
            query=AllQueries,
            mutation=AllMutations,
            subscription=Subscription,
            types=EVENT_TYPES,
            extensions=[lambda: OperationScope(self._documents)],
            config=StrawberryConfig(scalar_map=SCALARS, sort_schema=True),
        )
        self._documents = DocumentCache(self._schema)

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Replace the errors in place: every result passes here, on whichever way it goes out."""
        errors[:] = [public_error(error, execution_context) for error in errors]


def build_schema() -> Schema:
    return Schema()


def printed_schema() -> str:
    """What belongs into ``schema.graphql``."""
    return build_schema().as_str() + "\n"
