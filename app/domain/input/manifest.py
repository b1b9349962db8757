"""Reads ``artifacts.json``, in which a stage may describe its output files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from app.domain.artifacts import DatasetFacts, Manifest, ManifestEntry, ModelFacts
from app.domain.attempts import MANIFEST_FILE
from app.domain.checker import Checker, Path, kind_of, no_text
from app.domain.registry import ALIASES_LIMIT, alias_problem, name_problem
from app.domain.text import read_json_object
from app.domain.units import BYTES_PER_MB
from app.domain.vocabulary import ArtifactType
from app.errors import InvalidInput

MANIFEST_LIMIT_BYTES = 4 * BYTES_PER_MB
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
    "register",
    "aliases",
)
_OLD_MODEL_FORMAT = "format"


def parse_manifest(text: str | bytes, output_paths: Collection[str]) -> Manifest:
    """The manifest of a stage whose output folder holds ``output_paths`` (relative, with forward slashes).

    docs/stages.md shows all keys. Of two entries with the same path the last one counts.

    Raises ``InvalidInput`` with the first 20 problems and their paths: no JSON, a value of a wrong kind, an unknown
    type, a path that is not among the outputs.
    """
    raw = read_json_object(text, name=MANIFEST_FILE, max_bytes=MANIFEST_LIMIT_BYTES)
    checker = Checker()
    items = checker.mapping(raw, (), _ROOT_KEYS).get("artifacts", [])
    if not isinstance(items, list):
        checker.problem(("artifacts",), f"must be a list, not {kind_of(items)}")
        items = []
    entries = [_entry(checker, item, ("artifacts", str(index))) for index, item in enumerate(items)]
    _check_paths(checker, entries, frozenset(output_paths))
    if checker.problems:
        raise InvalidInput(checker.problems[:_PROBLEMS_SHOWN])
    return Manifest({entry.path: entry for entry in entries})


def _check_paths(checker: Checker, entries: Sequence[ManifestEntry], known: frozenset[str]) -> None:
    for index, entry in enumerate(entries):
        if entry.path and entry.path not in known:
            checker.problem(
                ("artifacts", str(index), "path"), f"{entry.path!r} is not a file in the output folder"
            )


def _entry(checker: Checker, value: Any, path: Path) -> ManifestEntry:
    raw = checker.mapping(value, path, ENTRY_KEYS)
    return ManifestEntry(
        path=checker.text(raw.get("path"), (*path, "path"), limit=1000),
        name=_text(checker, raw, path, "name"),
        type=_type(checker, raw.get("type"), (*path, "type")),
        description=_text(checker, raw, path, "description", limit=10_000),
        metadata=_object(checker, raw, path, "metadata"),
        dataset=_dataset(checker, raw.get("dataset"), (*path, "dataset")),
        model=_model(checker, raw.get("model"), (*path, "model")),
    )


def _type(checker: Checker, value: Any, path: Path) -> ArtifactType | None:
    if value is None:
        return None
    try:
        return ArtifactType(value)
    except ValueError:
        checker.problem(path, f"{value!r} is not one of {', '.join(ArtifactType)}")
        return None


def _dataset(checker: Checker, value: Any, path: Path) -> DatasetFacts | None:
    if value is None:
        return None
    raw = checker.mapping(value, path, DATASET_KEYS)
    return DatasetFacts(
        format=_text(checker, raw, path, "format", limit=50),
        row_count=_count(checker, raw, path, "rowCount", 2**63 - 1),
        column_count=_count(checker, raw, path, "columnCount", 2**31 - 1),
        schema=_schema(checker, raw.get("schema"), (*path, "schema")),
    )


def _schema(checker: Checker, value: Any, path: Path) -> list[dict[str, Any]] | None:
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(column, dict) for column in value):
        return value
    checker.problem(path, "must be a list of objects, one for each column")
    return None


def _model(checker: Checker, value: Any, path: Path) -> ModelFacts | None:
    if value is None:
        return None
    raw = checker.mapping(value, path, (*MODEL_KEYS, _OLD_MODEL_FORMAT))
    given_format = _text(checker, raw, path, "modelFormat", limit=50)
    return ModelFacts(
        model_type=_text(checker, raw, path, "modelType", limit=100),
        algorithm=_text(checker, raw, path, "algorithm", limit=100),
        framework=_text(checker, raw, path, "framework", limit=100),
        format=given_format or _text(checker, raw, path, _OLD_MODEL_FORMAT, limit=50),
        training_dataset=_text(checker, raw, path, "trainingDataset", limit=1100),
        training_config=_object(checker, raw, path, "trainingConfig"),
        metrics=_object(checker, raw, path, "metrics"),
        register=_word(checker, raw.get("register"), (*path, "register"), name_problem),
        aliases=_aliases(checker, raw, path),
    )


def _word(checker: Checker, value: Any, path: Path, problem_of: Callable[[str], str | None]) -> str | None:
    if value is None:
        return None
    problem = problem_of(value) if isinstance(value, str) else no_text(value)
    if problem is not None:
        checker.problem(path, problem)
        return None
    return str(value)


def _aliases(checker: Checker, raw: Mapping[str, Any], path: Path) -> Sequence[str] | None:
    """The aliases of a model that is to be registered."""
    values, where = raw.get("aliases"), (*path, "aliases")
    if values is None:
        return None
    if raw.get("register") is None:
        checker.problem(where, "needs register, the name of the registered model")
    if not isinstance(values, list) or len(values) > ALIASES_LIMIT:
        checker.problem(where, f"must be a list of at most {ALIASES_LIMIT} aliases")
        return None
    words = [_word(checker, value, (*where, str(index)), alias_problem) for index, value in enumerate(values)]
    return [word for word in words if word is not None]


def _text(checker: Checker, raw: Mapping[str, Any], path: Path, key: str, limit: int = 255) -> str | None:
    value = raw.get(key)
    if value is None or (isinstance(value, str) and len(value) <= limit):
        return value
    if isinstance(value, str):
        checker.problem((*path, key), f"must have at most {limit} characters, has {len(value)}")
    else:
        checker.problem((*path, key), no_text(value))
    return None


def _count(checker: Checker, raw: Mapping[str, Any], path: Path, key: str, limit: int) -> int | None:
    if raw.get(key) is None:
        return None
    return checker.whole(raw[key], (*path, key), low=0, high=limit)


def _object(checker: Checker, raw: Mapping[str, Any], path: Path, key: str) -> Mapping[str, Any] | None:
    return None if raw.get(key) is None else checker.mapping(raw[key], (*path, key))
