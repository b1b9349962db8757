"""Inspects JSON lines and JSON arrays of objects as tables, and other JSON by its keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from app.inspection.columns import RecordTable
from app.inspection.facts import Budget, Inspection, Unreadable, clip
from app.inspection.sources import TextSource, open_text

_CHUNK_ROWS = 500
_BUFFER_CHARACTERS = 1 << 20
_DOCUMENT_LIMIT_BYTES = 32 << 20
_MAX_KEYS = 100
_SPACE = " \t\r\n"


def inspect_json_lines(path: Path, budget: Budget) -> Inspection:
    """One object per line. Other lines are counted as ``badLines``, not as rows."""
    source = open_text(path)
    with source.stream as stream:
        return _lines(source, filter(str.strip, stream), budget)


def inspect_json(path: Path, budget: Budget) -> Inspection:
    """An array of objects, JSON lines under another name, or a document: then the facts are its keys."""
    source = open_text(path)
    with source.stream as stream:
        start = stream.read(_BUFFER_CHARACTERS).lstrip("\ufeff" + _SPACE)
        stream.seek(0)
        if start.startswith("["):
            return _array(source, budget)
        if start.startswith("{") and _has_object_per_line(start):
            return _lines(source, filter(str.strip, stream), budget)
        if path.stat().st_size > _DOCUMENT_LIMIT_BYTES:
            return Inspection(format="json", details=dict(source.details()))
        return _document(stream.read(_DOCUMENT_LIMIT_BYTES))


def _has_object_per_line(start: str) -> bool:
    first, _, rest = start.partition("\n")
    try:
        return isinstance(json.loads(first), dict) and rest.lstrip(_SPACE).startswith("{")
    except ValueError:
        return False


def _document(text: str) -> Inspection:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise Unreadable(f"it is not JSON: {error}") from error
    if not isinstance(document, dict):
        return Inspection(format="json")
    if {"learner", "version"} <= document.keys():
        return Inspection(format="xgboost-json", framework="xgboost")
    return Inspection(format="json", details={"keys": [clip(key) for key in islice(document, _MAX_KEYS)]})


def _lines(source: TextSource, lines: Iterator[str], budget: Budget) -> Inspection:
    table = RecordTable()
    bad = untyped = 0
    is_whole = True
    while chunk := list(islice(lines, _CHUNK_ROWS)):
        if budget.may_infer():
            records = [record for line in chunk if (record := _record(line)) is not None]
            bad += len(chunk) - len(records)
            table.add(records)
            if not table.row_count:
                raise Unreadable("its lines are not JSON objects")
        elif budget.may_count():
            untyped += len(chunk)
        else:
            is_whole = False
            break
    return _table_facts("jsonl", source, table, untyped=untyped, bad=bad, is_whole=is_whole)


def _record(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _array(source: TextSource, budget: Budget) -> Inspection:
    table = RecordTable()
    elements = _elements(source.stream)
    is_whole = True
    while chunk := list(islice(elements, _CHUNK_ROWS)):
        if not all(isinstance(element, dict) for element in chunk):
            return Inspection(format="json", details=dict(source.details()))
        if not budget.may_infer():
            is_whole = False
            break
        table.add(chunk)
    return _table_facts("json", source, table, untyped=0, bad=0, is_whole=is_whole)


def _elements(stream: TextIO) -> Iterator[Any]:
    """The elements of a JSON array, read piece by piece."""
    decode = json.JSONDecoder().raw_decode
    text = stream.read(_BUFFER_CHARACTERS).lstrip("\ufeff" + _SPACE)
    position = 1
    while True:
        position = _skip(text, position, _SPACE + ",")
        if text.startswith("]", position):
            return
        try:
            element, end = decode(text, position)
        except ValueError as error:
            # The element may be longer than the buffer. Doubling the buffer keeps the total work linear.
            more = stream.read(max(_BUFFER_CHARACTERS, len(text) - position))
            if not more:
                raise Unreadable(f"it is not JSON: {error}") from error
            text, position = text[position:] + more, 0
            continue
        yield element
        position = end


def _skip(text: str, position: int, characters: str) -> int:
    while position < len(text) and text[position] in characters:
        position += 1
    return position


def _table_facts(
    file_format: str, source: TextSource, table: RecordTable, *, untyped: int, bad: int, is_whole: bool
) -> Inspection:
    details: dict[str, Any] = dict(source.details())
    rows = table.row_count + untyped
    if bad:
        details["badLines"] = bad
    if untyped:
        details["typedRows"] = table.row_count
    if not is_whole:
        details["rowsRead"] = rows
    return Inspection(
        format=file_format,
        row_count=rows if is_whole else None,
        column_count=None if table.has_more_columns else len(table.columns),
        schema=table.describe(),
        details=details,
    )
