"""What clients send: orders, filters, and the inputs of the mutations."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import math
import uuid
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON

from app.database.pages import (
    BY_NAME,
    BY_NAME_REVERSED,
    NEWEST_FIRST,
    OLDEST_FIRST,
    Conditions,
    Order,
    artifact_conditions,
    dataset_conditions,
    model_conditions,
    pipeline_conditions,
    run_conditions,
)
from app.domain.text import LARGEST_NUMBER, NESTING_LIMIT, SMALLEST_NUMBER, is_storable
from app.errors import DomainError, InvalidInput
from app.graphql.enums import (
    ArtifactStatus,
    ArtifactType,
    RunStatus,
    StageType,
    TriggerType,
    describe,
)
from app.graphql.ids import required_key
from app.graphql.pages import NOT_GIVEN, given


class PipelineOrder(enum.StrEnum):
    CREATED_AT_DESC = "CREATED_AT_DESC"
    CREATED_AT_ASC = "CREATED_AT_ASC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"


class RunOrder(enum.StrEnum):
    CREATED_AT_DESC = "CREATED_AT_DESC"
    CREATED_AT_ASC = "CREATED_AT_ASC"


class ArtifactOrder(enum.StrEnum):
    CREATED_AT_DESC = "CREATED_AT_DESC"
    CREATED_AT_ASC = "CREATED_AT_ASC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"


_BY_TIME = {"CREATED_AT_DESC": "Newest first.", "CREATED_AT_ASC": "Oldest first."}
_BY_TIME_OR_NAME = {**_BY_TIME, "NAME_ASC": "By name.", "NAME_DESC": "By name, backwards."}
describe(PipelineOrder, "Order of a list of pipelines.", _BY_TIME_OR_NAME)
describe(RunOrder, "Order of a list of runs.", _BY_TIME)
describe(ArtifactOrder, "Order of a list of artifacts.", _BY_TIME_OR_NAME)

_ORDERS = {
    "CREATED_AT_DESC": NEWEST_FIRST,
    "CREATED_AT_ASC": OLDEST_FIRST,
    "NAME_ASC": BY_NAME,
    "NAME_DESC": BY_NAME_REVERSED,
}


def sort_of(order: PipelineOrder | RunOrder | ArtifactOrder) -> Order:
    return _ORDERS[order]


_REMOVABLE = "removable"


def optional(description: str) -> Any:
    """An input field that may be left out."""
    return strawberry.field(default=NOT_GIVEN, description=description)


def change(description: str, *, removable: bool = False) -> Any:
    """A ``Maybe`` field of an update. Only what is ``removable`` may be null, whatever its type says."""
    return strawberry.field(description=description, metadata={_REMOVABLE: removable})


@strawberry.input(description="Narrows a list of runs; everything given must hold.")
class RunFilter:
    status: list[RunStatus] | None = optional("The run has one of these statuses.")
    pipeline_id: strawberry.ID | None = optional("The run is one of this pipeline.")
    tags: list[str] | None = optional("The run has all these tags.")
    environment: str | None = optional("The run is in this environment.")
    trigger_type: TriggerType | None = optional("This started the run.")
    created_after: dt.datetime | None = optional("The run was created later than this.")
    created_before: dt.datetime | None = optional("The run was created earlier than this.")

    def conditions(self) -> Conditions:
        refuse_unstorable({"tags": given(self.tags), "environment": given(self.environment)}, "filter")
        return run_conditions(
            status=given(self.status),
            pipeline_id=self.pipeline_key(),
            tags=given(self.tags),
            environment=given(self.environment),
            trigger_type=given(self.trigger_type),
            created_after=given(self.created_after),
            created_before=given(self.created_before),
        )

    def pipeline_key(self) -> uuid.UUID | None:
        return key_in_filter(self.pipeline_id, "Pipeline", "pipelineId")


@strawberry.input(description="Narrows a list of pipelines; everything given must hold.")
class PipelineFilter:
    name: str | None = optional("The name contains this, whatever the case.")
    status: list[RunStatus] | None = optional("The pipeline has one of these statuses.")

    def conditions(self) -> Conditions:
        refuse_unstorable({"name": given(self.name)}, "filter")
        return pipeline_conditions(name=given(self.name), status=given(self.status))


@strawberry.input(description="Narrows a list of artifacts; everything given must hold.")
class ArtifactFilter:
    artifact_type: list[ArtifactType] | None = optional("The artifact is one of these.")
    status: list[ArtifactStatus] | None = optional("The artifact has one of these statuses.")
    name: str | None = optional("The name contains this, whatever the case.")
    run_id: strawberry.ID | None = optional("The artifact was made by this run.")
    stage_run_id: strawberry.ID | None = optional("The artifact was made by this stage run.")
    pipeline_id: strawberry.ID | None = optional("The artifact was made by a run of this pipeline.")

    def conditions(self) -> Conditions:
        refuse_unstorable({"name": given(self.name)}, "filter")
        return artifact_conditions(
            artifact_type=given(self.artifact_type),
            status=given(self.status),
            name=given(self.name),
            run_id=key_in_filter(self.run_id, "Run", "runId"),
            stage_run_id=key_in_filter(self.stage_run_id, "StageRun", "stageRunId"),
            pipeline_id=key_in_filter(self.pipeline_id, "Pipeline", "pipelineId"),
        )


@strawberry.input(description="Narrows a list of datasets; everything given must hold.")
class DatasetFilter:
    format: str | None = optional("The file has this format, whatever the case, for example csv.")
    name: str | None = optional("The name of the artifact contains this, whatever the case.")
    run_id: strawberry.ID | None = optional("The artifact was made by this run.")
    pipeline_id: strawberry.ID | None = optional("The artifact was made by a run of this pipeline.")

    def conditions(self) -> Conditions:
        refuse_unstorable({"format": given(self.format), "name": given(self.name)}, "filter")
        return dataset_conditions(
            file_format=given(self.format),
            name=given(self.name),
            run_id=key_in_filter(self.run_id, "Run", "runId"),
            pipeline_id=key_in_filter(self.pipeline_id, "Pipeline", "pipelineId"),
        )


@strawberry.input(description="Narrows a list of models; everything given must hold.")
class ModelFilter:
    algorithm: str | None = optional("The algorithm contains this, whatever the case.")
    framework: str | None = optional("The framework contains this, whatever the case.")
    name: str | None = optional("The name of the artifact contains this, whatever the case.")
    run_id: strawberry.ID | None = optional("The artifact was made by this run.")
    pipeline_id: strawberry.ID | None = optional("The artifact was made by a run of this pipeline.")

    def conditions(self) -> Conditions:
        texts = {name: given(getattr(self, name)) for name in ("algorithm", "framework", "name")}
        refuse_unstorable(texts, "filter")
        return model_conditions(
            **texts,
            run_id=key_in_filter(self.run_id, "Run", "runId"),
            pipeline_id=key_in_filter(self.pipeline_id, "Pipeline", "pipelineId"),
        )


def key_in_filter(node_id: strawberry.ID | None, type_name: str, field: str) -> uuid.UUID | None:
    """The key of a ``type_name`` in a field of a filter, or ``None`` if it has none."""
    chosen = given(node_id)
    return None if chosen is None else required_key(chosen, type_name, "filter", field)


RunFilterArgument = Annotated[
    RunFilter | None, strawberry.argument(name="filter", description="Only runs which match.")
]
RunOrderArgument = Annotated[RunOrder, strawberry.argument(description="Order of the list.")]
PipelineFilterArgument = Annotated[
    PipelineFilter | None, strawberry.argument(name="filter", description="Only pipelines which match.")
]
PipelineOrderArgument = Annotated[PipelineOrder, strawberry.argument(description="Order of the list.")]
ArtifactFilterArgument = Annotated[
    ArtifactFilter | None, strawberry.argument(name="filter", description="Only artifacts which match.")
]
DatasetFilterArgument = Annotated[
    DatasetFilter | None, strawberry.argument(name="filter", description="Only datasets which match.")
]
ModelFilterArgument = Annotated[
    ModelFilter | None, strawberry.argument(name="filter", description="Only models which match.")
]
ArtifactOrderArgument = Annotated[ArtifactOrder, strawberry.argument(description="Order of the list.")]


@strawberry.input(description="A stage of a pipeline.")
class StageInput:
    name: str = strawberry.field(description="Name of the stage, unique in its pipeline.")
    stage_type: StageType = strawberry.field(description="What the stage does.")
    custom_name: str | None = optional("What a CUSTOM stage does.")
    order: int | None = optional("Place of the stage; derived from the dependencies when left out.")
    dependencies: list[str] | None = optional("Names of the stages which must succeed first.")
    config: JSON | None = optional("The command of the stage and how it is executed.")


@strawberry.input(description="A new pipeline.")
class CreatePipelineInput:
    name: str = strawberry.field(description="Name of the pipeline.")
    description: str | None = optional("What the pipeline is for.")
    config: JSON | None = optional("Settings all its stages share.")
    stages: list[StageInput] = strawberry.field(description="Its stages.")


@strawberry.input(description="Changes of a pipeline; what is left out stays as it is.")
class UpdatePipelineInput:
    pipeline_id: strawberry.ID = strawberry.field(description="The pipeline to change.")
    name: strawberry.Maybe[str | None] = change("New name.")
    description: strawberry.Maybe[str | None] = change("New description; null removes it.", removable=True)
    config: strawberry.Maybe[JSON | None] = change("New settings; null removes them.", removable=True)
    stages: strawberry.Maybe[list[StageInput] | None] = change(
        "The new list of stages; a stage of the same name keeps its identity."
    )


@strawberry.input(description="Which pipeline to delete.")
class DeletePipelineInput:
    pipeline_id: strawberry.ID = strawberry.field(description="The pipeline to delete.")
    delete_runs: bool = strawberry.field(
        default=False,
        description="Delete its runs and their artifacts too; without it a pipeline with runs stays.",
    )


@strawberry.input(description="A run to start.")
class StartRunInput:
    pipeline_id: strawberry.ID = strawberry.field(description="The pipeline to run.")
    run_config: JSON | None = optional("Parameters and limits which hold for this run only.")
    environment: str | None = optional("A name for where the run belongs, for example staging.")
    triggered_by: str | None = optional("Who or what asks for the run.")
    tags: list[str] | None = optional("Labels to find the run by, each given once.")
    notes: str | None = optional("Anything worth remembering about the run.")
    idempotency_key: str | None = optional("A second request with the same key gets the run of the first.")


@strawberry.input(description="A run to cancel.")
class CancelRunInput:
    run_id: strawberry.ID = strawberry.field(description="The run to cancel.")
    reason: str | None = optional("Why; kept with the run.")
    cancelled_by: str | None = optional("Who or what asks for it; kept with the run. API when left out.")


@strawberry.input(description="Changes of what is noted about a run; what is left out stays as it is.")
class UpdateRunInput:
    run_id: strawberry.ID = strawberry.field(description="The run to change.")
    tags: strawberry.Maybe[list[str] | None] = change(
        "The new list of labels; null removes them.", removable=True
    )
    notes: strawberry.Maybe[str | None] = change("New notes; null removes them.", removable=True)


@strawberry.input(description="Which run to delete.")
class DeleteRunInput:
    run_id: strawberry.ID = strawberry.field(description="The run to delete; it must be over.")


@strawberry.input(description="A run to do again.")
class RetryRunInput:
    run_id: strawberry.ID = strawberry.field(description="The run to do again, as a new run.")
    from_failed: bool = strawberry.field(
        default=True,
        description="Keep the results of the stages which succeeded; otherwise do all of them again.",
    )
    idempotency_key: str | None = optional("A second request with the same key gets the run of the first.")


def draft_of(value: Any) -> Any:
    """The plain form of an input, in camelCase, without what was left out or null."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, list):
        return [draft_of(item) for item in value]
    if dataclasses.is_dataclass(value):
        fields = {camel_case(name): given(field) for name, field in vars(value).items()}
        return {name: draft_of(field) for name, field in fields.items() if field is not None}
    return value


def changes_of(update: Any) -> dict[str, Any]:
    """The ``Maybe`` fields of ``update`` which were given, in camelCase; null is kept where it removes something.

    ``InvalidInput`` names each other one that is null.
    """
    given_fields = {
        camel_case(field.name): (value.value, field.metadata)
        for field in dataclasses.fields(update)
        if isinstance(value := getattr(update, field.name), strawberry.Some)
    }
    problems = [
        DomainError(f"{name}: must not be null; leave it out to keep it", path=(name,))
        for name, (value, metadata) in given_fields.items()
        if value is None and not metadata.get(_REMOVABLE)
    ]
    if problems:
        raise InvalidInput(problems)
    return {name: draft_of(value) for name, (value, _) in given_fields.items()}


def camel_case(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def refuse_unstorable(value: Any, *path: str) -> None:
    """Raise ``InvalidInput`` with all places whose text or numbers PostgreSQL can't store."""
    problems = [DomainError(message, path=where) for where, message in unstorable(value, path)]
    if problems:
        raise InvalidInput(problems)


def unstorable(value: Any, path: tuple[str, ...], depth: int = 0) -> Iterator[tuple[tuple[str, ...], str]]:
    """Find NUL characters, lone surrogates, numbers without a JSON form, and too deep nesting."""
    if depth > NESTING_LIMIT:
        yield path, f"Nested more than {NESTING_LIMIT} levels deep."
    elif isinstance(value, str):
        if not is_storable(value):
            yield path, "Text must not contain NUL characters or lone surrogates."
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield path, "Numbers must be finite."
    elif isinstance(value, int):
        if not SMALLEST_NUMBER <= value <= LARGEST_NUMBER:
            yield path, "Integers must fit into 64 bits."
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from unstorable(key, path, depth)
            yield from unstorable(item, (*path, str(key)), depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from unstorable(item, (*path, str(index)), depth + 1)
