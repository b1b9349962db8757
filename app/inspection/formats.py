"""Chooses how to inspect a file: by its first bytes if they are conclusive, otherwise by its name."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from app.domain.file_names import content_suffix
from app.inspection import arrays, parquet
from app.inspection.delimited import inspect_delimited
from app.inspection.facts import Budget, Inspection, Unreadable
from app.inspection.pickles import inspect_pickle
from app.inspection.records import inspect_json, inspect_json_lines
from app.inspection.weights import (
    inspect_gguf,
    inspect_model_zip,
    inspect_onnx,
    inspect_safetensors,
    looks_like_safetensors,
)

_HEAD_BYTES = 64
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_DELIMITED = frozenset({".csv", ".tsv", ".tab"})
_JSON_LINES = frozenset({".jsonl", ".ndjson"})
_PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".z", ".pt", ".pth", ".ckpt"})


def inspect(path: Path, name: str, budget: Budget) -> Inspection:
    """The facts about the file at ``path``, which the stage called ``name``. Raises ``Unreadable``."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    extension = content_suffix(name)
    by_content = _by_content(path, head, extension)
    if by_content is not None:
        return by_content()
    if extension in _DELIMITED:
        return inspect_delimited(path, extension, budget)
    if extension in _JSON_LINES:
        return inspect_json_lines(path, budget)
    if extension == ".json":
        return inspect_json(path, budget)
    if extension in _PICKLES:
        return inspect_pickle(path)
    if extension == ".onnx":
        return inspect_onnx(path)
    return Inspection(format=extension.lstrip(".") or None)


def _by_content(path: Path, head: bytes, extension: str) -> Callable[[], Inspection] | None:
    if head.startswith(parquet.MAGIC):
        return lambda: parquet.inspect_parquet(path)
    if head.startswith(arrays.MAGIC):
        return lambda: arrays.inspect_npy(path)
    if head.startswith(b"PK\x03\x04"):
        return lambda: _zip(path, extension)
    if head.startswith(_ZSTANDARD):
        why = "it is compressed with Zstandard, which can't be read here"
        return lambda: Inspection(format=extension.lstrip(".") or None, error=why)
    if head.startswith(b"GGUF"):
        return lambda: inspect_gguf(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return lambda: Inspection(format="hdf5")
    if head.startswith(b"tree\nversion="):
        return lambda: Inspection(format="lightgbm-text", framework="lightgbm")
    if head.startswith(b"{L") and b"learner" in head:
        return lambda: Inspection(format="xgboost-ubj", framework="xgboost")
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return lambda: inspect_pickle(path)
    if looks_like_safetensors(head, path.stat().st_size):
        return lambda: inspect_safetensors(path)
    return None


def _zip(path: Path, extension: str) -> Inspection:
    try:
        if extension == ".npz":
            return arrays.inspect_npz(path)
        return inspect_model_zip(path) or Inspection(format=extension.lstrip(".") or "zip")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise Unreadable(f"its archive can't be read: {error}") from error
