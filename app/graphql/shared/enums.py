"""The closed vocabularies of the domain as GraphQL enums, each value with its meaning.

GraphQL types import the enums from here: Strawberry must know the description before it first sees the class.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import strawberry

from app.domain.vocabulary import (
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
    """Register ``cls``, which the domain defines without knowing GraphQL, as an enum with descriptions."""
    definition = strawberry.enum(cls, description=description).__strawberry_definition__  # type: ignore[attr-defined]
    for value in definition.values:
        value.description = values[value.name]


describe(
    RunStatus,
    "Where a pipeline or a run stands.",
    {
        "PENDING": "Not started yet.",
        "RUNNING": "At least one stage was started, and not all are over.",
        "COMPLETED": "Every stage succeeded, or failed where that is allowed.",
        "FAILED": "A stage failed, or the run could not go on.",
        "CANCELLED": "It was cancelled, and none of its processes is left.",
    },
)
describe(
    StageStatus,
    "Where a stage or a stage run stands.",
    {
        "PENDING": "Waits for its dependencies, for its next attempt or for a free slot.",
        "RUNNING": "Its process runs, or its outputs are being collected.",
        "COMPLETED": "It exited with 0 and its outputs are stored.",
        "FAILED": "Its last attempt failed; see the finish reason.",
        "CANCELLED": "It was cancelled, and none of its processes is left.",
        "SKIPPED": "It was never started, because something it depends on failed.",
    },
)
describe(
    Phase,
    "The engine's finer view of a stage run.",
    {
        "BLOCKED": "Waits for the stages it depends on.",
        "READY": "May be started as soon as a worker has a free slot.",
        "CLAIMED": "A worker has taken it and prepares its process.",
        "RUNNING": "Its process runs.",
        "COLLECTING": "Its process has ended; its outputs are being stored.",
        "FINAL": "It is over.",
    },
)
describe(
    FinishReason,
    "Why an attempt, a stage run or a run ended.",
    {
        "EXITED": "The process ended by itself; see the exit code.",
        "SIGNALED": "A signal from elsewhere ended the process.",
        "CANCELLED": "Somebody cancelled the run.",
        "TIMED_OUT": "The time limit of the stage or of the run was reached.",
        "OUT_OF_MEMORY": "The process was killed for the memory it used.",
        "START_FAILED": "The process could not be started.",
        "LOST": "The host or its runner vanished without a trace of the outcome.",
        "UPSTREAM_FAILED": "A stage it depends on did not succeed.",
        "OUTPUT_REFUSED": "The process succeeded, but its outputs break the rules and were not stored.",
    },
)
describe(
    TriggerType,
    "What started a run.",
    {
        "MANUAL": "A person.",
        "SCHEDULED": "A schedule.",
        "API": "A program, by this API.",
        "WEBHOOK": "A call from another system.",
    },
)
describe(
    MissedPolicy,
    "What a schedule does about runs which were due while no server was there to start them.",
    {
        "SKIP": "Nothing, if they are more than a minute late.",
        "RUN_ONCE": "One run makes up for all of them.",
        "RUN_ALL": "Each gets its run, the last ten at most.",
    },
)
describe(
    ArtifactType,
    "What an artifact is.",
    {
        "MODEL": "A trained model.",
        "DATASET": "Data.",
        "METRICS": "Figures that measure something.",
        "PLOT": "A picture.",
        "LOG": "What a process printed.",
        "CONFIG": "Settings.",
        "REPORT": "A document for people.",
        "OTHER": "Anything else.",
    },
)
describe(
    ArtifactStatus,
    "Whether the bytes of an artifact can be read.",
    {
        "PENDING": "They are being stored.",
        "READY": "They can be read.",
        "FAILED": "They could not be stored.",
    },
)
describe(
    StorageType,
    "Where the bytes of an artifact live.",
    {
        "LOCAL": "A folder of the server.",
        "S3": "Amazon S3 or a service which speaks its protocol.",
        "GCS": "Google Cloud Storage.",
        "AZURE": "Azure Blob Storage.",
    },
)
describe(
    StageType,
    "What a stage does.",
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
        "MODEL_DEPLOYMENT": "Puts a model to work.",
        "MODEL_MONITORING": "Watches a model at work.",
        "EXPLORATORY_DATA_ANALYSIS": "Looks at data to understand it.",
        "HYPERPARAMETER_TUNING": "Searches for good settings.",
        "MODEL_COMPARISON": "Compares models.",
        "ENVIRONMENT_SETUP": "Prepares the surroundings of other stages.",
        "RESOURCE_PROVISIONING": "Obtains machines or services.",
        "CLEANUP": "Removes what is no longer needed.",
        "CUSTOM": "Something else, named by the custom name.",
    },
)
describe(
    ErrorCode,
    "Kinds of expected errors. Branch on these, never on messages.",
    {
        "BAD_INPUT": "A value is malformed or out of bounds.",
        "NOT_FOUND": "The named thing does not exist.",
        "CONFLICT": "The request contradicts what is stored.",
        "INVALID_SPECIFICATION": "The definition of a pipeline is wrong.",
        "NOT_CANCELLABLE": "The run is already over.",
        "NOT_RETRYABLE": "The run is not over, or nothing of it has to be done again.",
        "NOT_DELETABLE": "The run is not over, or later runs build on its outputs.",
        "PIPELINE_IN_USE": "The pipeline still has runs.",
        "INSUFFICIENT_STORAGE": "The server has too little free space for new runs.",
        "UNAVAILABLE": "A part the server depends on does not answer; try again later.",
    },
)
