"""The closed vocabularies of the graph."""

from __future__ import annotations

import enum
from collections.abc import Mapping


class RunStatus(enum.StrEnum):
    """The status of a pipeline or a run."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class StageStatus(enum.StrEnum):
    """The status of a stage or a stage run."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"


class Phase(enum.StrEnum):
    """The state of a stage run in the engine; its public status is derived from it."""

    BLOCKED = "blocked"
    READY = "ready"
    CLAIMED = "claimed"
    RUNNING = "running"
    COLLECTING = "collecting"
    FINAL = "final"


class FinishReason(enum.StrEnum):
    """Why an attempt or a stage run ended. The set is closed: retries and alerts depend on it."""

    EXITED = "EXITED"
    SIGNALED = "SIGNALED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    START_FAILED = "START_FAILED"
    LOST = "LOST"
    UPSTREAM_FAILED = "UPSTREAM_FAILED"
    OUTPUT_REFUSED = "OUTPUT_REFUSED"


class TriggerType(enum.StrEnum):
    """What started a run."""

    MANUAL = "MANUAL"
    SCHEDULED = "SCHEDULED"
    API = "API"
    WEBHOOK = "WEBHOOK"


class MissedPolicy(enum.StrEnum):
    """What a schedule does about runs that were due while no server was running."""

    SKIP = "SKIP"
    RUN_ONCE = "RUN_ONCE"
    RUN_ALL = "RUN_ALL"


class ArtifactType(enum.StrEnum):
    """The type of an artifact."""

    MODEL = "MODEL"
    DATASET = "DATASET"
    METRICS = "METRICS"
    PLOT = "PLOT"
    LOG = "LOG"
    CONFIG = "CONFIG"
    REPORT = "REPORT"
    OTHER = "OTHER"


class ArtifactStatus(enum.StrEnum):
    """Whether the bytes of an artifact can be read."""

    PENDING = "PENDING"
    READY = "READY"
    FAILED = "FAILED"


class StorageType(enum.StrEnum):
    """Where the bytes of an artifact are stored."""

    LOCAL = "LOCAL"
    S3 = "S3"
    GCS = "GCS"
    AZURE = "AZURE"


class AliasMoveKind(enum.StrEnum):
    """What an entry in the history of a registered model did to an alias."""

    SET = "SET"
    MOVED_BACK = "MOVED_BACK"
    REMOVED = "REMOVED"
    PROTECTED = "PROTECTED"
    UNPROTECTED = "UNPROTECTED"


class ExecutorType(enum.StrEnum):
    """What executes the attempts of a stage."""

    LOCAL = "LOCAL"


class StageType(enum.StrEnum):
    """What a stage does; CUSTOM requires a custom name."""

    DATA_INGESTION = "DATA_INGESTION"
    DATA_VALIDATION = "DATA_VALIDATION"
    DATA_PREPROCESSING = "DATA_PREPROCESSING"
    FEATURE_ENGINEERING = "FEATURE_ENGINEERING"
    DATA_SPLITTING = "DATA_SPLITTING"
    MODEL_TRAINING = "MODEL_TRAINING"
    MODEL_VALIDATION = "MODEL_VALIDATION"
    MODEL_EVALUATION = "MODEL_EVALUATION"
    MODEL_TESTING = "MODEL_TESTING"
    MODEL_REGISTRATION = "MODEL_REGISTRATION"
    MODEL_DEPLOYMENT = "MODEL_DEPLOYMENT"
    MODEL_MONITORING = "MODEL_MONITORING"
    EXPLORATORY_DATA_ANALYSIS = "EXPLORATORY_DATA_ANALYSIS"
    HYPERPARAMETER_TUNING = "HYPERPARAMETER_TUNING"
    MODEL_COMPARISON = "MODEL_COMPARISON"
    ENVIRONMENT_SETUP = "ENVIRONMENT_SETUP"
    RESOURCE_PROVISIONING = "RESOURCE_PROVISIONING"
    CLEANUP = "CLEANUP"
    CUSTOM = "CUSTOM"


EXPECTED_ARTIFACTS: Mapping[StageType, frozenset[ArtifactType]] = {
    StageType.DATA_INGESTION: frozenset({ArtifactType.DATASET}),
    StageType.DATA_VALIDATION: frozenset({ArtifactType.REPORT, ArtifactType.METRICS}),
    StageType.DATA_PREPROCESSING: frozenset({ArtifactType.DATASET}),
    StageType.FEATURE_ENGINEERING: frozenset({ArtifactType.DATASET}),
    StageType.DATA_SPLITTING: frozenset({ArtifactType.DATASET}),
    StageType.MODEL_TRAINING: frozenset({ArtifactType.MODEL, ArtifactType.METRICS}),
    StageType.MODEL_VALIDATION: frozenset({ArtifactType.METRICS, ArtifactType.REPORT}),
    StageType.MODEL_EVALUATION: frozenset({ArtifactType.METRICS, ArtifactType.PLOT}),
    StageType.MODEL_TESTING: frozenset({ArtifactType.METRICS, ArtifactType.REPORT}),
    StageType.MODEL_REGISTRATION: frozenset({ArtifactType.MODEL, ArtifactType.CONFIG}),
    StageType.MODEL_DEPLOYMENT: frozenset({ArtifactType.CONFIG}),
    StageType.MODEL_MONITORING: frozenset({ArtifactType.METRICS, ArtifactType.REPORT}),
    StageType.EXPLORATORY_DATA_ANALYSIS: frozenset({ArtifactType.PLOT, ArtifactType.REPORT}),
    StageType.HYPERPARAMETER_TUNING: frozenset({ArtifactType.CONFIG, ArtifactType.METRICS}),
    StageType.MODEL_COMPARISON: frozenset({ArtifactType.REPORT, ArtifactType.METRICS}),
    StageType.ENVIRONMENT_SETUP: frozenset({ArtifactType.CONFIG}),
    StageType.RESOURCE_PROVISIONING: frozenset({ArtifactType.CONFIG}),
    StageType.CLEANUP: frozenset(),
    StageType.CUSTOM: frozenset(),
}
