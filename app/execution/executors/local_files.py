"""The folder of an attempt on this machine: what is put there before the launch."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from anyio import to_thread

from app.database.reads.attempts import InputFile
from app.domain.attempts import PARAMS_FILE
from app.runner import files
from app.storage.base import ArtifactStore


def make_folders(folder: Path) -> Path:
    """Makes the attempt's folder with its subfolders; returns it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in files.FOLDERS:
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    return folder


def write_params(folder: Path, params: Mapping[str, Any]) -> None:
    """Writes the parameters of the stage as JSON, readable for its user only."""
    fd = os.open(folder / PARAMS_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "wb") as file:
        file.write(orjson.dumps(params, option=orjson.OPT_INDENT_2))


async def place_inputs(folder: Path, inputs: Sequence[InputFile], store: ArtifactStore) -> None:
    """``<folder>/<dependency>/<path>`` for every input: private read-only copies in read-only folders."""
    for file in inputs:
        target = folder / file.dependency / file.relative_path
        await to_thread.run_sync(_make_room, folder, target)
        await store.materialise(file.sha256, target)
    await to_thread.run_sync(_protect, folder)


def _make_room(folder: Path, target: Path) -> None:
    """Makes the folders writable again, in case an earlier call was interrupted after it had protected them."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for parent in [*target.relative_to(folder).parents]:
        (folder / parent).chmod(stat.S_IRWXU)
    target.unlink(missing_ok=True)


def _protect(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        Path(path).chmod(stat.S_IRUSR | stat.S_IXUSR)
