"""The type of an output file, and the facts about datasets and models."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeVar

from app.domain.file_names import content_suffix
from app.domain.vocabulary import ArtifactType

OUTPUTS_PATH = "/stage-runs/%s/outputs.tar"
"""Path of the archive of all outputs of a stage run, by its id."""

_TYPE_OF_FOLDER: Mapping[str, ArtifactType] = {
    "datasets": ArtifactType.DATASET,
    "models": ArtifactType.MODEL,
    "plots": ArtifactType.PLOT,
    "metrics": ArtifactType.METRICS,
    "reports": ArtifactType.REPORT,
    "configs": ArtifactType.CONFIG,
    "logs": ArtifactType.LOG,
}

_TYPE_OF_NAME: Mapping[str, ArtifactType] = {
    "metrics.json": ArtifactType.METRICS,
    "metrics.jsonl": ArtifactType.METRICS,
    "config.json": ArtifactType.CONFIG,
    "params.json": ArtifactType.CONFIG,
}

_EXTENSIONS: Mapping[ArtifactType, str] = {
    ArtifactType.DATASET: "csv tsv parquet jsonl ndjson npy npz arrow feather avro orc xlsx sqlite",
    ArtifactType.MODEL: (
        "pkl pickle joblib pt pth ckpt onnx safetensors gguf keras h5 tflite pb bst ubj cbm mlmodel skops"
    ),
    ArtifactType.PLOT: "png jpg jpeg gif webp svg",
    ArtifactType.REPORT: "html htm md pdf ipynb txt rst",
    ArtifactType.CONFIG: "yaml yml toml ini cfg conf properties",
    ArtifactType.LOG: "log",
}
_TYPE_OF_EXTENSION = {
    f".{extension}": artifact_type
    for artifact_type, extensions in _EXTENSIONS.items()
    for extension in extensions.split()
}

_Facts = TypeVar("_Facts", "DatasetFacts", "ModelFacts")


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """The shape of a dataset; ``None`` means unknown. ``schema`` lists ``{"name", "type", "nullable"}``."""

    format: str | None = None
    row_count: int | None = None
    column_count: int | None = None
    schema: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model is and how it was trained; ``None`` means unknown.

    ``training_dataset`` is a path in the outputs of the same stage (``datasets/train.csv``) or, after the name of a
    dependency, in the outputs of that dependency (``split/datasets/train.csv``). ``register`` is the name of the
    registered model that gets it as a new version, and ``aliases`` are set to that version.
    """

    model_type: str | None = None
    algorithm: str | None = None
    framework: str | None = None
    format: str | None = None
    training_dataset: str | None = None
    training_config: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] | None = None
    register: str | None = None
    aliases: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """What a stage declares about one of its output files; ``None`` means not declared."""

    path: str
    name: str | None = None
    type: ArtifactType | None = None
    description: str | None = None
    metadata: Mapping[str, Any] | None = None
    dataset: DatasetFacts | None = None
    model: ModelFacts | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The entries of an ``artifacts.json`` by the paths of their files."""

    entries: Mapping[str, ManifestEntry] = field(default_factory=dict)


def complete(facts: _Facts, others: _Facts) -> _Facts:
    """``facts``, with unknown values filled in from ``others``: those of a manifest from an inspection."""
    missing = {
        item.name: getattr(others, item.name)
        for item in dataclasses.fields(facts)
        if getattr(facts, item.name) is None
    }
    return dataclasses.replace(facts, **missing)


def artifact_type_of(relative_path: str, entry: ManifestEntry | None) -> ArtifactType:
    """The type of an output file: from its manifest entry, else from its top folder, name or extension."""
    if entry is not None:
        if entry.type is not None:
            return entry.type
        if entry.model is not None:
            return ArtifactType.MODEL
        if entry.dataset is not None:
            return ArtifactType.DATASET
    path = PurePosixPath(relative_path)
    if len(path.parts) > 1 and path.parts[0] in _TYPE_OF_FOLDER:
        return _TYPE_OF_FOLDER[path.parts[0]]
    name = path.name.lower()
    return _TYPE_OF_NAME.get(name) or _TYPE_OF_EXTENSION.get(content_suffix(name), ArtifactType.OTHER)
