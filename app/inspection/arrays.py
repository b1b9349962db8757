"""Inspects NumPy files by their headers; loads no array."""

from __future__ import annotations

import ast
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

from app.inspection.facts import MAX_NAMES, Inspection, Unreadable, clip

MAGIC = b"\x93NUMPY"
_HEADER_LIMIT_BYTES = 1 << 16
_TYPE_OF_KIND = {
    "b": "boolean",
    "i": "integer",
    "u": "integer",
    "f": "number",
    "M": "datetime",
    "U": "string",
    "S": "string",
    "a": "string",
}


def inspect_npy(path: Path) -> Inspection:
    """Rows are the first axis. A 2-D array has columns; a structured array has a schema, too."""
    with path.open("rb") as file:
        header = _header(file)
    shape, fields = header["shape"], header["fields"]
    return Inspection(
        format="npy",
        row_count=shape[0] if shape else None,
        column_count=len(fields)
        if fields
        else shape[1]
        if len(shape) == 2
        else 1
        if len(shape) == 1
        else None,
        schema=fields,
        framework="numpy",
        details={"dtype": header["dtype"], "shape": shape, "holdsPickles": header["holdsPickles"]},
    )


def inspect_npz(path: Path) -> Inspection:
    """The arrays by name; rows if all arrays have the same number."""
    arrays: dict[str, dict[str, Any]] = {}
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        for member in members[:MAX_NAMES]:
            with archive.open(member) as file:
                header = _header(cast(BinaryIO, file))
            del header["fields"]
            arrays[clip(member.filename.removesuffix(".npy"))] = header
    lengths = {array["shape"][0] if array["shape"] else None for array in arrays.values()}
    return Inspection(
        format="npz",
        row_count=lengths.pop() if len(lengths) == 1 else None,
        framework="numpy",
        details={"arrayCount": len(members), "arrays": arrays},
    )


def _header(file: BinaryIO) -> dict[str, Any]:
    start = file.read(8)
    if len(start) < 8 or not start.startswith(MAGIC):
        raise Unreadable("it is not an array of NumPy")
    major = start[6]
    width, pattern = (2, "<H") if major == 1 else (4, "<I")
    (length,) = struct.unpack(pattern, file.read(width).ljust(width, b"\0"))
    if length > _HEADER_LIMIT_BYTES:
        raise Unreadable("the header of the array is too long")
    try:
        raw = ast.literal_eval(file.read(length).decode("utf-8" if major >= 3 else "latin-1"))
        shape = [int(size) for size in raw["shape"]]
        return {"shape": shape, **_dtype(raw["descr"])}
    except (ValueError, SyntaxError, TypeError, KeyError, LookupError) as error:
        raise Unreadable("the header of the array can't be read") from error


def _dtype(descr: Any) -> dict[str, Any]:
    if isinstance(descr, str):
        return {"dtype": clip(descr), "fields": None, "holdsPickles": "O" in descr}
    fields = [
        {"name": clip(str(name)), "type": _type(code), "nullable": False}
        for name, code, *_ in descr[:MAX_NAMES]
    ]
    return {"dtype": "structured", "fields": fields, "holdsPickles": "'|O'" in str(descr)}


def _type(code: Any) -> str:
    return _TYPE_OF_KIND.get(code.lstrip("<>|=")[:1], "json") if isinstance(code, str) else "json"
