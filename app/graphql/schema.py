"""The roots of the graph, assembled from the nouns; ``schema.graphql`` at the top level is its printed form."""

from __future__ import annotations

from pathlib import Path

import strawberry

from app.graphql.artifacts.mutations import ArtifactMutation
from app.graphql.artifacts.queries import ArtifactQuery
from app.graphql.nodes import NodeQuery
from app.graphql.pipelines.mutations import PipelineMutation
from app.graphql.pipelines.queries import PipelineQuery
from app.graphql.registry.mutations import RegistryMutation
from app.graphql.registry.queries import RegistryQuery
from app.graphql.runs.events import EVENT_TYPES
from app.graphql.runs.mutations import RunMutation
from app.graphql.runs.queries import RunQuery
from app.graphql.runs.subscriptions import RunSubscription
from app.graphql.schedules.mutations import ScheduleMutation
from app.graphql.schedules.queries import ScheduleQuery
from app.graphql.serving.schema import Schema
from app.graphql.stage_runs.queries import StageRunQuery
from app.graphql.stage_runs.subscriptions import StageRunSubscription
from app.graphql.system.queries import SystemQuery
from app.graphql.system.subscriptions import SystemSubscription
from app.graphql.webhooks.mutations import WebhookMutation
from app.graphql.webhooks.queries import WebhookQuery


@strawberry.type(description="All reads.")
class Query(
    PipelineQuery,
    RunQuery,
    StageRunQuery,
    ArtifactQuery,
    RegistryQuery,
    ScheduleQuery,
    WebhookQuery,
    SystemQuery,
    NodeQuery,
):
    pass


@strawberry.type(description="All changes. Expected errors are in `errors` of the payload.")
class Mutation(
    PipelineMutation, RunMutation, ArtifactMutation, RegistryMutation, ScheduleMutation, WebhookMutation
):
    pass


@strawberry.type(
    description="Live streams over graphql-transport-ws. After a break a client resumes with the last cursor it "
    "received."
)
class Subscription(RunSubscription, StageRunSubscription, SystemSubscription):
    pass


def build_schema(trusted_documents: Path | None = None, *, compiled: bool = True) -> Schema:
    """The schema; given a file of trusted documents, it executes only those."""
    schema = Schema(Query, Mutation, Subscription, EVENT_TYPES, compiled=compiled)
    if trusted_documents is not None:
        schema.trust_only(trusted_documents)
    return schema


def printed_schema() -> str:
    """The text of ``schema.graphql``."""
    return build_schema().as_str() + "\n"
