"""Stores what a finished attempt left behind: output files, captured log, final metrics and result."""

from __future__ import annotations

import mimetypes
import os
import time
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from app.domain.artifacts import DatasetFacts, Manifest, ManifestEntry, ModelFacts, artifact_type_of, complete
from app.domain.input.manifest import parse_manifest
from app.domain.stage_reports import parse_final_metrics, parse_stage_result
from app.domain.vocabulary import ArtifactType
from app.execution.launch import AttemptLimits
from app.inspection.facts import Inspection
from app.inspection.inspector import inspect_files
from app.runner.files import OUTPUT, open_plain
from app.runner.outputs import OutputFile, OutputWalk, walk_outputs
from app.services.state.outputs import StageOutputs, StoredFile
from app.storage.base import StoredBlob
from app.storage.local import LocalStore

MANIFEST = "artifacts.json"
FINAL_METRICS = ("metrics.json", "metrics/metrics.json")
_READ_LIMIT_BYTES = 1 << 20
_TAIL_BYTES = 8192


@dataclass(frozen=True)
class _Collected:
    file: OutputFile
    blob: StoredBlob
    entry: ManifestEntry | None
    artifact_type: ArtifactType


async def collect_outputs(folder: Path, store: LocalStore, limits: AttemptLimits) -> StageOutputs:
    """Everything in ``out/`` plus the captured log.

    Raises ``OutputRefused`` for a file that can't be taken and ``InvalidInput`` for a broken manifest, metrics
    file or result: then nothing of the attempt is published but its log.
    """
    stored_at = time.time()
    walk = await to_thread.run_sync(_walk, folder / "out", limits)
    if walk.refusals:
        raise walk.refusals[0]
    manifest = await to_thread.run_sync(_manifest, folder, walk)
    collected = [
        await _collect(file, manifest, store) for file in walk.files if file.relative_path != MANIFEST
    ]
    inspections = await _inspect(collected, store)
    files = [_stored(item, inspections.get(item.file.relative_path)) for item in collected]
    log = await collect_log(folder, store)
    return StageOutputs(
        files=[*files, *log.files],
        metrics=await to_thread.run_sync(_final_metrics, walk),
        output_data=await to_thread.run_sync(_stage_result, folder),
        stored_at=stored_at,
    )


async def collect_log(folder: Path, store: LocalStore) -> StageOutputs:
    """The captured log only: all that is kept of an attempt that failed."""
    fd = open_plain(folder / OUTPUT)
    if fd is None:
        return StageOutputs()
    try:
        if os.fstat(fd).st_size == 0:
            return StageOutputs()
        blob = await store.put_fd(fd)
    finally:
        os.close(fd)
    log = StoredFile(
        path=OUTPUT,
        name=OUTPUT,
        artifact_type=ArtifactType.LOG,
        blob=blob,
        description="Standard output and error of the command",
        media_type="text/plain",
        is_captured_log=True,
    )
    return StageOutputs(files=[log])


def log_tail(folder: Path) -> str | None:
    """The last lines of the captured log, at most 8 KiB."""
    fd = open_plain(folder / OUTPUT)
    if fd is None:
        return None
    try:
        size = os.fstat(fd).st_size
        data = os.pread(fd, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    finally:
        os.close(fd)
    if size > _TAIL_BYTES:
        data = data.partition(b"\n")[2] or data
    return data.decode(errors="replace") or None


def _walk(folder: Path, limits: AttemptLimits) -> OutputWalk:
    return walk_outputs(
        folder,
        max_files=limits.artifact_limit_files,
        max_bytes=limits.artifact_limit_bytes,
        max_depth=limits.artifact_limit_depth,
    )


def _read(file: OutputFile) -> bytes:
    """The content of a small file; one byte more than allowed of a large one, so that its reader refuses it."""
    with file.opened() as fd, open(fd, "rb", closefd=False) as stream:
        return stream.read(_READ_LIMIT_BYTES + 1)


def _manifest(folder: Path, walk: OutputWalk) -> Manifest:
    by_path = {file.relative_path: file for file in walk.files}
    if MANIFEST not in by_path:
        return Manifest()
    return parse_manifest(_read(by_path[MANIFEST]), by_path.keys() - {MANIFEST})


def _final_metrics(walk: OutputWalk) -> dict[str, float]:
    by_path = {file.relative_path: file for file in walk.files}
    for path in FINAL_METRICS:
        if path in by_path:
            return parse_final_metrics(_read(by_path[path]))
    return {}


def _stage_result(folder: Path) -> dict[str, object] | None:
    walk = walk_outputs(folder, max_files=64, max_bytes=1 << 62, max_depth=1)
    found = [file for file in walk.files if file.relative_path == "stage_result.json"]
    return parse_stage_result(_read(found[0])) if found else None


async def _collect(file: OutputFile, manifest: Manifest, store: LocalStore) -> _Collected:
    with file.opened() as fd:
        blob = await store.put_fd(fd)
    entry = manifest.entries.get(file.relative_path)
    return _Collected(file, blob, entry, artifact_type_of(file.relative_path, entry))


async def _inspect(collected: list[_Collected], store: LocalStore) -> dict[str, Inspection]:
    """Looks into the stored copies of data sets and models; failing to understand one is not an error."""
    wanted = [item for item in collected if item.artifact_type in (ArtifactType.DATASET, ArtifactType.MODEL)]
    if not wanted:
        return {}
    paths = [(store.path(item.blob.sha256), item.file.relative_path) for item in wanted]
    found = await inspect_files(paths)
    return {item.file.relative_path: inspection for item, inspection in zip(wanted, found, strict=True)}


def _stored(item: _Collected, inspection: Inspection | None) -> StoredFile:
    entry, path = item.entry, item.file.relative_path
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
    """What the manifest says, completed by what was found in the file."""
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
