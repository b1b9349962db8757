"""The enums of the domain as GraphQL enums, with a description of each value.

GraphQL types import them from here: Strawberry must know the descriptions before it first sees the class.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import strawberry

from app.domain.vocabulary import (
    AliasMoveKind,
    ArtifactStatus,
    ArtifactType,
    FinishReason,
    MissedPolicy,
    Phase,
    RunStatus,
    StageStatus,
    StageType,
    StorageType,
    TriggerType,
)
from app.errors import ErrorCode

__all__ = [
    "AliasMoveKind",
    "ArtifactStatus",
    "ArtifactType",
    "ErrorCode",
    "FinishReason",
    "MissedPolicy",
    "Phase",
    "RunStatus",
    "StageStatus",
    "StageType",
    "StorageType",
    "TriggerType",
]


def describe(cls: type[enum.Enum], description: str, values: Mapping[str, str]) -> None:
    """Makes an enum of the domain a GraphQL enum; ``values`` describes each value by its name."""
    definition = strawberry.enum(cls, description=description).__strawberry_definition__  # type: ignore[attr-defined]
    for value in definition.values:
        value.description = values[value.name]


describe(
    RunStatus,
    "The status of a run; of a pipeline it is that of its newest run.",
    {
        "PENDING": "Waits in the queue.",
        "RUNNING": "A worker has taken it from the queue, and at least one of its stages has not ended.",
        "COMPLETED": "Every stage succeeded, or failed with `allowFailure`.",
        "FAILED": "A stage without `allowFailure` failed, or a time limit of the run was reached.",
        "CANCELLED": "It was cancelled, and none of its processes is left.",
    },
)
describe(
    StageStatus,
    "The status of a stage run; of a stage it is that of its newest stage run.",
    {
        "PENDING": "Waits for its dependencies, for its next attempt, or for a worker to start it.",
        "RUNNING": "Its process runs, or its outputs are being stored.",
        "COMPLETED": "Its command exited with code 0 and its outputs are stored, or earlier results are reused.",
        "FAILED": "Its last attempt failed, or a time limit of the run was reached; see `finishReason`.",
        "CANCELLED": "It was cancelled, and none of its processes is left.",
        "SKIPPED": "It never started, because a stage it depends on did not succeed.",
    },
)
describe(
    Phase,
    "What happens to a stage run, in finer steps than its status.",
    {
        "BLOCKED": "Waits for the stages it depends on.",
        "READY": "Its dependencies are met; it starts as soon as its wait for a retry is over and a worker has "
        "a free slot.",
        "CLAIMED": "A worker has claimed it and prepares its process.",
        "RUNNING": "Its process runs.",
        "COLLECTING": "Its process has ended; its outputs are being stored.",
        "FINAL": "It has ended.",
    },
)
describe(
    FinishReason,
    "Why an attempt, a stage run or a run ended.",
    {
        "EXITED": "The command ended by itself; see the exit code. Of a run: it succeeded, or one of its stages "
        "failed so.",
        "SIGNALED": "A signal that the worker did not send ended the command.",
        "CANCELLED": "The run was cancelled, or another stage failed and the run is fail-fast.",
        "TIMED_OUT": "A time limit of the stage or of the run was reached.",
        "OUT_OF_MEMORY": "The process was killed because it used too much memory.",
        "START_FAILED": "The process could not be started.",
        "LOST": "The worker's host or the process that watches the command vanished, so the outcome is unknown.",
        "UPSTREAM_FAILED": "A stage it depends on did not succeed.",
        "OUTPUT_REFUSED": "The command exited with code 0, but its outputs break the rules and are not stored.",
    },
)
describe(
    TriggerType,
    "How a run was started.",
    {
        "MANUAL": "By a person: with the command line or with the GraphiQL page of this server.",
        "SCHEDULED": "By a schedule.",
        "API": "By any other client of this API.",
        "WEBHOOK": "By a signed call to a webhook.",
    },
)
describe(
    AliasMoveKind,
    "What happened to an alias.",
    {
        "SET": "It was created, or pointed to another version.",
        "MOVED_BACK": "It was moved back to a version that it pointed to before.",
        "REMOVED": "It was removed.",
        "PROTECTED": "It was protected.",
        "UNPROTECTED": "Its protection was ended.",
    },
)
describe(
    MissedPolicy,
    "What a schedule does about runs that came due while no server could start them.",
    {
        "SKIP": "Runs more than 60 seconds late are left out.",
        "RUN_ONCE": "One run replaces all of them.",
        "RUN_ALL": "Each of the last 10 is started; earlier ones are left out.",
    },
)
describe(
    ArtifactType,
    "The kind of an artifact.",
    {
        "MODEL": "A trained model.",
        "DATASET": "Data, for example a table.",
        "METRICS": "Measured values, for example the accuracy of a model.",
        "PLOT": "An image.",
        "LOG": "The output of a process.",
        "CONFIG": "A configuration.",
        "REPORT": "A document for people.",
        "OTHER": "Anything else.",
    },
)
describe(
    ArtifactStatus,
    "Whether the bytes of an artifact can be read.",
    {
        "PENDING": "They are not stored yet.",
        "READY": "They can be read.",
        "FAILED": "They could not be stored.",
    },
)
describe(
    StorageType,
    "Where the bytes of an artifact are stored.",
    {
        "LOCAL": "In a folder of the server.",
        "S3": "In Amazon S3 or a service with the same protocol.",
        "GCS": "In Google Cloud Storage.",
        "AZURE": "In Azure Blob Storage.",
    },
)
describe(
    StageType,
    "The kind of work a stage does.",
    {
        "DATA_INGESTION": "Brings data in.",
        "DATA_VALIDATION": "Checks data.",
        "DATA_PREPROCESSING": "Cleans and reshapes data.",
        "FEATURE_ENGINEERING": "Computes features.",
        "DATA_SPLITTING": "Divides data, for example for training and for tests.",
        "MODEL_TRAINING": "Trains a model.",
        "MODEL_VALIDATION": "Checks a model while it is being chosen.",
        "MODEL_EVALUATION": "Measures a finished model.",
        "MODEL_TESTING": "Tests how a model behaves.",
        "MODEL_REGISTRATION": "Records a model for later use.",
        "MODEL_DEPLOYMENT": "Puts a model into service.",
        "MODEL_MONITORING": "Watches a model in service.",
        "EXPLORATORY_DATA_ANALYSIS": "Looks at data to understand it.",
        "HYPERPARAMETER_TUNING": "Searches for good settings.",
        "MODEL_COMPARISON": "Compares models.",
        "ENVIRONMENT_SETUP": "Prepares the environment of other stages.",
        "RESOURCE_PROVISIONING": "Obtains machines or services.",
        "CLEANUP": "Removes what is no longer needed.",
        "CUSTOM": "Anything else; `customName` says what.",
    },
)
describe(
    ErrorCode,
    "Codes of expected errors. Programs decide by the code; messages may change.",
    {
        "BAD_INPUT": "A value is malformed or out of range.",
        "NOT_FOUND": "The object referred to does not exist.",
        "CONFLICT": "The request contradicts the stored state, for example a name that is in use.",
        "INVALID_SPECIFICATION": "The definition of a pipeline is invalid.",
        "NOT_CANCELLABLE": "The run has already ended.",
        "NOT_RETRYABLE": "The run has not ended, all of its stages succeeded, or the pipeline no longer has its "
        "stages.",
        "NOT_DELETABLE": "The run has not ended, a later run reuses results of it, or one of its models is registered; "
        "or an alias points to the version.",
        "PIPELINE_IN_USE": "The pipeline has runs, or one of the models of its runs is registered.",
        "INSUFFICIENT_STORAGE": "The artifact store has no room left.",
        "UNAVAILABLE": "The database or the artifact store does not answer; try again later.",
    },
)
