"""Inspects model files other than pickles by their headers: safetensors, ONNX, PyTorch, Keras, GGUF, HDF5, LightGBM."""

from __future__ import annotations

import json
import math
import zipfile
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from app.inspection.facts import MAX_NAMES, Inspection, Unreadable, clip
from app.inspection.pickles import inspect_pickle_bytes

_HEADER_LIMIT_BYTES = 100 << 20
_TEXT_LIMIT_BYTES = 1 << 16
_PICKLE_LIMIT_BYTES = 8 << 20
_FRAMEWORK_OF_FORMAT = {"pt": "pytorch", "tf": "tensorflow", "flax": "flax", "np": "numpy", "mlx": "mlx"}
_IR_VERSION, _PRODUCER, _PRODUCER_VERSION, _GRAPH = 1, 2, 3, 7


def looks_like_safetensors(head: bytes, size_bytes: int) -> bool:
    """Whether the file begins with a length of eight bytes and a JSON object of that length."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= min(_HEADER_LIMIT_BYTES, size_bytes - 8)


def inspect_safetensors(path: Path) -> Inspection:
    """The tensors with type and shape, and the number of parameters."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(length, _HEADER_LIMIT_BYTES)))
            metadata = header.pop("__metadata__", {})
            parameters = sum(math.prod(tensor["shape"]) for tensor in header.values())
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Unreadable("its header can't be read") from error
    tensors = {
        clip(name): {"dtype": clip(str(tensor.get("dtype"))), "shape": tensor["shape"][:16]}
        for name, tensor in islice(header.items(), MAX_NAMES)
    }
    return Inspection(
        format="safetensors",
        framework=_FRAMEWORK_OF_FORMAT.get(str(metadata.get("format")))
        if isinstance(metadata, dict)
        else None,
        details={"tensorCount": len(header), "parameterCount": parameters, "tensors": tensors},
    )


def inspect_model_zip(path: Path) -> Inspection | None:
    """The facts about an archive of PyTorch or Keras; None for any other archive."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickle_name = next((name for name in names if name.rpartition("/")[2] == "data.pkl"), None)
        if pickle_name is not None:
            with archive.open(pickle_name) as file:
                found = inspect_pickle_bytes(file.read(_PICKLE_LIMIT_BYTES), "pytorch")
            return Inspection(
                format="torchscript" if any(name.endswith("constants.pkl") for name in names) else "pytorch",
                framework="pytorch",
                details=found.details,
            )
        if {"config.json", "metadata.json"} <= set(names):
            return Inspection(format="keras", framework="keras", details=_keras_version(archive))
    return None


def _keras_version(archive: zipfile.ZipFile) -> dict[str, Any]:
    with archive.open("metadata.json") as file:
        try:
            metadata = json.loads(file.read(_TEXT_LIMIT_BYTES))
        except ValueError:
            return {}
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    return {} if version is None else {"kerasVersion": clip(str(version))}


def inspect_gguf(path: Path) -> Inspection:
    with path.open("rb") as file:
        head = file.read(24)
    if len(head) < 24:
        raise Unreadable("it is cut short")
    version = int.from_bytes(head[4:8], "little")
    tensors = int.from_bytes(head[8:16], "little")
    return Inspection(format="gguf", framework="ggml", details={"version": version, "tensorCount": tensors})


def inspect_onnx(path: Path) -> Inspection:
    """Reads the outermost fields of the protobuf message, and skips the graph."""
    details: dict[str, Any] = {}
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size_bytes:
            key = _varint(file)
            _onnx_field(file, key >> 3, key & 7, size_bytes, details)
    if "irVersion" not in details or "graphBytes" not in details:
        raise Unreadable("it is not an ONNX model")
    return Inspection(format="onnx", framework="onnx", details=details)


def _onnx_field(file: BinaryIO, number: int, wire: int, size_bytes: int, details: dict[str, Any]) -> None:
    if wire == 0:
        value = _varint(file)
        if number == _IR_VERSION:
            details["irVersion"] = value
        return
    length = _varint(file) if wire == 2 else {1: 8, 5: 4}.get(wire, size_bytes)
    if file.tell() + length > size_bytes:
        raise Unreadable("it is not an ONNX model")
    if wire == 2 and number in (_PRODUCER, _PRODUCER_VERSION) and length < _TEXT_LIMIT_BYTES:
        text = clip(file.read(length).decode("utf-8", "replace"))
        details["producer" if number == _PRODUCER else "producerVersion"] = text
        return
    if wire == 2 and number == _GRAPH:
        details["graphBytes"] = length
    file.seek(length, 1)


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise Unreadable("it is not an ONNX model")
