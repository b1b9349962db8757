"""Reads ``artifacts.json``, in which a stage may describe the files it leaves in its output folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from app.domain.artifacts import DatasetFacts, Manifest, ManifestEntry, ModelFacts
from app.domain.input.checker import Path, Reader, kind_of, no_text
from app.domain.text import read_json_object
from app.domain.vocabulary import ArtifactType
from app.errors import InvalidInput

MANIFEST_NAME = "artifacts.json"
MANIFEST_LIMIT_BYTES = 4 << 20
_PROBLEMS_SHOWN = 20

_ROOT_KEYS = ("artifacts",)
ENTRY_KEYS = ("path", "name", "type", "description", "metadata", "dataset", "model")
DATASET_KEYS = ("format", "rowCount", "columnCount", "schema")
MODEL_KEYS = (
    "modelType",
    "algorithm",
    "framework",
    "modelFormat",
    "trainingDataset",
    "trainingConfig",
    "metrics",
)
_OLD_MODEL_FORMAT = "format"


def parse_manifest(text: str | bytes, output_paths: Collection[str]) -> Manifest:
    """The manifest of a stage whose output folder holds ``output_paths`` (relative, ``/`` between parts).

    docs/stages.md shows all of its keys. A path may be given twice, then the last entry counts.

    Raises ``InvalidInput`` with the first 20 problems and their paths: no JSON, a wrong kind of value, an unknown type,
    a path which is not among the outputs.
    """
    raw = read_json_object(text, name=MANIFEST_NAME, max_bytes=MANIFEST_LIMIT_BYTES)
    reader = Reader()
    items = reader.mapping(raw, (), _ROOT_KEYS).get("artifacts", [])
    if not isinstance(items, list):
        reader.problem(("artifacts",), f"must be a list, not {kind_of(items)}")
        items = []
    entries = [_entry(reader, item, ("artifacts", str(index))) for index, item in enumerate(items)]
    _check_paths(reader, entries, frozenset(output_paths))
    if reader.problems:
        raise InvalidInput(reader.problems[:_PROBLEMS_SHOWN])
    return Manifest({entry.path: entry for entry in entries})


def _check_paths(reader: Reader, entries: Sequence[ManifestEntry], known: frozenset[str]) -> None:
    for index, entry in enumerate(entries):
        if entry.path and entry.path not in known:
            reader.problem(
                ("artifacts", str(index), "path"), f"{entry.path!r} is not a file in the output folder"
            )


def _entry(reader: Reader, value: Any, path: Path) -> ManifestEntry:
    raw = reader.mapping(value, path, ENTRY_KEYS)
    return ManifestEntry(
        path=reader.text(raw.get("path"), (*path, "path"), limit=1000),
        name=_text(reader, raw, path, "name"),
        type=_type(reader, raw.get("type"), (*path, "type")),
        description=_text(reader, raw, path, "description", limit=10_000),
        metadata=_object(reader, raw, path, "metadata"),
        dataset=_dataset(reader, raw.get("dataset"), (*path, "dataset")),
        model=_model(reader, raw.get("model"), (*path, "model")),
    )


def _type(reader: Reader, value: Any, path: Path) -> ArtifactType | None:
    if value is None:
        return None
    try:
        return ArtifactType(value)
    except ValueError:
        reader.problem(path, f"{value!r} is not one of {', '.join(ArtifactType)}")
        return None


def _dataset(reader: Reader, value: Any, path: Path) -> DatasetFacts | None:
    if value is None:
        return None
    raw = reader.mapping(value, path, DATASET_KEYS)
    return DatasetFacts(
        format=_text(reader, raw, path, "format", limit=50),
        row_count=_count(reader, raw, path, "rowCount", 2**63 - 1),
        column_count=_count(reader, raw, path, "columnCount", 2**31 - 1),
        schema=_schema(reader, raw.get("schema"), (*path, "schema")),
    )


def _schema(reader: Reader, value: Any, path: Path) -> list[dict[str, Any]] | None:
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(column, dict) for column in value):
        return value
    reader.problem(path, "must be a list of objects, one for each column")
    return None


def _model(reader: Reader, value: Any, path: Path) -> ModelFacts | None:
    if value is None:
        return None
    raw = reader.mapping(value, path, (*MODEL_KEYS, _OLD_MODEL_FORMAT))
    given_format = _text(reader, raw, path, "modelFormat", limit=50)
    return ModelFacts(
        model_type=_text(reader, raw, path, "modelType", limit=100),
        algorithm=_text(reader, raw, path, "algorithm", limit=100),
        framework=_text(reader, raw, path, "framework", limit=100),
        format=given_format or _text(reader, raw, path, _OLD_MODEL_FORMAT, limit=50),
        training_dataset=_text(reader, raw, path, "trainingDataset", limit=1100),
        training_config=_object(reader, raw, path, "trainingConfig"),
        metrics=_object(reader, raw, path, "metrics"),
    )


def _text(reader: Reader, raw: Mapping[str, Any], path: Path, key: str, limit: int = 255) -> str | None:
    value = raw.get(key)
    if value is None or (isinstance(value, str) and len(value) <= limit):
        return value
    if isinstance(value, str):
        reader.problem((*path, key), f"must have at most {limit} characters, has {len(value)}")
    else:
        reader.problem((*path, key), no_text(value))
    return None


def _count(reader: Reader, raw: Mapping[str, Any], path: Path, key: str, limit: int) -> int | None:
    if raw.get(key) is None:
        return None
    return reader.whole(raw[key], (*path, key), low=0, high=limit, default=0)


def _object(reader: Reader, raw: Mapping[str, Any], path: Path, key: str) -> Mapping[str, Any] | None:
    return None if raw.get(key) is None else reader.mapping(raw[key], (*path, key))
