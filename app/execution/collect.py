"""Stores what a finished attempt left behind: output files, captured log, final metrics and result."""

from __future__ import annotations

import mimetypes
import time
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.artifacts import DatasetFacts, Manifest, ManifestEntry, ModelFacts, artifact_type_of, complete
from app.domain.attempts import FINAL_METRICS_FILES, LOG_FILE, MANIFEST_FILE
from app.domain.input.manifest import MANIFEST_LIMIT_BYTES, parse_manifest
from app.domain.stage_reports import RESULT_LIMIT_BYTES, parse_final_metrics, parse_stage_result
from app.domain.vocabulary import ArtifactType
from app.execution.executors.base import AttemptOutputs, Executor, OutputLimits
from app.inspection.facts import Inspection
from app.services.state.outputs import StageOutputs, StoredFile
from app.storage.base import ArtifactStore, StoredBlob

_TAIL_BYTES = 8192


@dataclass(frozen=True)
class _Collected:
    path: str
    blob: StoredBlob
    entry: ManifestEntry | None
    artifact_type: ArtifactType


async def collect_outputs(
    executor: Executor, attempt_id: str, store: ArtifactStore, limits: OutputLimits
) -> StageOutputs:
    """The output files and the captured log of an attempt, stored.

    Raises ``OutputRefused`` for a file that can't become an artifact and ``InvalidInput`` for a broken manifest,
    metrics file or result: of such an attempt only the log is published.
    """
    stored_at = time.time()
    outputs = await executor.outputs(attempt_id, limits)
    manifest = await _manifest(outputs)
    collected = [await _collect(outputs, path, manifest, store) for path in _artifact_paths(outputs)]
    inspections = await _inspect(outputs, collected)
    files = [_stored(item, inspections.get(item.path)) for item in collected]
    log = await collect_log(executor, attempt_id, store)
    return StageOutputs(
        files=[*files, *log.files],
        metrics=await _final_metrics(outputs),
        output_data=await _stage_result(outputs),
        stored_at=stored_at,
    )


async def collect_log(executor: Executor, attempt_id: str, store: ArtifactStore) -> StageOutputs:
    """The captured log, stored: the only output of an attempt that failed."""
    blob = await executor.store_log(attempt_id, store)
    if blob is None:
        return StageOutputs()
    log = StoredFile(
        path=LOG_FILE,
        name=LOG_FILE,
        artifact_type=ArtifactType.LOG,
        blob=blob,
        description="Standard output and error of the command",
        media_type="text/plain",
        is_captured_log=True,
    )
    return StageOutputs(files=[log])


async def log_tail(executor: Executor, attempt_id: str) -> str | None:
    """The last lines of the captured log, at most 8 KiB."""
    part = await executor.read_log(attempt_id, -_TAIL_BYTES, _TAIL_BYTES)
    if part is None:
        return None
    data = part.data
    if part.start > 0:
        data = data.partition(b"\n")[2] or data
    return data.decode(errors="replace") or None


def _artifact_paths(outputs: AttemptOutputs) -> Sequence[str]:
    return [path for path in outputs.paths if path != MANIFEST_FILE]


async def _manifest(outputs: AttemptOutputs) -> Manifest:
    if MANIFEST_FILE not in outputs.paths:
        return Manifest()
    # One byte more than allowed: the parser refuses a larger file.
    text = await outputs.read(MANIFEST_FILE, MANIFEST_LIMIT_BYTES + 1)
    return parse_manifest(text, set(_artifact_paths(outputs)))


async def _final_metrics(outputs: AttemptOutputs) -> dict[str, float]:
    for path in FINAL_METRICS_FILES:
        if path in outputs.paths:
            return parse_final_metrics(await outputs.read(path, RESULT_LIMIT_BYTES + 1))
    return {}


async def _stage_result(outputs: AttemptOutputs) -> dict[str, object] | None:
    data = await outputs.stage_result(RESULT_LIMIT_BYTES + 1)
    return None if data is None else parse_stage_result(data)


async def _collect(
    outputs: AttemptOutputs, path: str, manifest: Manifest, store: ArtifactStore
) -> _Collected:
    blob = await outputs.store(path, store)
    entry = manifest.entries.get(path)
    return _Collected(path, blob, entry, artifact_type_of(path, entry))


async def _inspect(outputs: AttemptOutputs, collected: Sequence[_Collected]) -> dict[str, Inspection]:
    """Facts about data sets and models, by path."""
    inspected = (ArtifactType.DATASET, ArtifactType.MODEL)
    paths = [item.path for item in collected if item.artifact_type in inspected]
    return dict(zip(paths, await outputs.inspect(paths), strict=True)) if paths else {}


def _stored(item: _Collected, inspection: Inspection | None) -> StoredFile:
    entry, path = item.entry, item.path
    return StoredFile(
        path=path,
        name=(entry and entry.name) or path,
        artifact_type=item.artifact_type,
        blob=item.blob,
        description=entry.description if entry else None,
        media_type=mimetypes.guess_type(path)[0],
        metadata=_metadata(entry, inspection),
        dataset=_dataset(item, inspection),
        model=_model(item, inspection),
    )


def _metadata(entry: ManifestEntry | None, inspection: Inspection | None) -> dict[str, object]:
    metadata: dict[str, object] = dict((entry and entry.metadata) or {})
    if inspection is not None and inspection.details:
        metadata["inspection"] = dict(inspection.details)
    if inspection is not None and inspection.error:
        metadata["inspectionError"] = inspection.error
    return metadata


def _dataset(item: _Collected, inspection: Inspection | None) -> DatasetFacts | None:
    """What the manifest says, completed with what the inspection found."""
    said = item.entry and item.entry.dataset
    if item.artifact_type is not ArtifactType.DATASET and said is None:
        return None
    said = said or DatasetFacts()
    if inspection is None:
        return said
    found = DatasetFacts(inspection.format, inspection.row_count, inspection.column_count, inspection.schema)
    return complete(said, found)


def _model(item: _Collected, inspection: Inspection | None) -> ModelFacts | None:
    said = item.entry and item.entry.model
    if item.artifact_type is not ArtifactType.MODEL and said is None:
        return None
    said = said or ModelFacts()
    if inspection is None:
        return said
    return complete(said, ModelFacts(framework=inspection.framework, format=inspection.format))
