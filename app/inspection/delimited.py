"""Inspects CSV and similar files: counts rows exactly and types columns by all values, in constant memory."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from app.inspection.columns import NULLS, Column
from app.inspection.facts import MAX_NAMES, Budget, Inspection, Unreadable, clip
from app.inspection.sources import open_text

_DELIMITERS = ",\t;|"
_SAMPLE_LINES = 30
_CHUNK_CELLS = 1 << 12  # a larger chunk does not fit into the processor's cache, and takes twice the time
_FIELD_LIMIT_CHARACTERS = 64 << 20


def inspect_delimited(path: Path, extension: str, budget: Budget) -> Inspection:
    """The facts about a delimited text file. A first row without numbers, dates and repetitions is its header."""
    csv.field_size_limit(_FIELD_LIMIT_CHARACTERS)
    source = open_text(path)
    with source.stream as stream:
        delimiter = _delimiter([line for line in islice(stream, _SAMPLE_LINES) if line.strip()], extension)
        stream.seek(0)
        try:
            table = _DelimitedTable(filter(None, csv.reader(stream, delimiter=delimiter)))
            table.read(budget)
        except csv.Error as error:
            raise Unreadable(str(error)) from error
    details: dict[str, object] = {"delimiter": delimiter, "header": table.has_header, **source.details()}
    return table.inspection("tsv" if delimiter == "\t" else "csv", details)


class _DelimitedTable:
    def __init__(self, rows: Iterator[list[str]]) -> None:
        first = next(rows, [])
        self.has_header = _is_header(first)
        self._rows = rows if self.has_header or not first else chain([first], rows)
        self._width = len(first)
        self._columns = [
            Column(cell.strip() if self.has_header and cell.strip() else f"column_{number}")
            for number, cell in enumerate(first[:MAX_NAMES], 1)
        ]
        self._row_count = 0
        self._typed_row_count = 0
        self._ragged_row_count = 0
        self._is_whole = True

    def read(self, budget: Budget) -> None:
        rows_at_once = max(1, _CHUNK_CELLS // max(1, self._width))
        while chunk := list(islice(self._rows, rows_at_once)):
            self._row_count += len(chunk)
            if budget.may_infer():
                self._infer(chunk)
            elif not budget.may_count():
                self._is_whole = False
                return

    def inspection(self, file_format: str, details: dict[str, object]) -> Inspection:
        if self._ragged_row_count:
            details["raggedRows"] = self._ragged_row_count
        if self._typed_row_count < self._row_count:
            details["typedRows"] = self._typed_row_count
        if not self._is_whole:
            details["rowsRead"] = self._row_count
        return Inspection(
            format=file_format,
            row_count=self._row_count if self._is_whole else None,
            column_count=self._width,
            schema=[column.describe() for column in self._columns],
            details=details,
        )

    def _infer(self, rows: Sequence[list[str]]) -> None:
        even = rows
        if set(map(len, rows)) != {self._width}:
            even = [row for row in rows if len(row) == self._width]
            self._ragged_row_count += len(rows) - len(even)
        for column, cells in zip(self._columns, zip(*even, strict=True), strict=False):
            column.add_texts(cells)
        self._typed_row_count += len(rows)


def _delimiter(sample: Sequence[str], extension: str) -> str:
    """The delimiter that yields the most columns, the same number in nearly every line of the sample."""
    if extension in (".tsv", ".tab"):
        return "\t"
    best, best_score = ",", 0.0
    for delimiter in _DELIMITERS:
        try:
            widths = [len(row) for row in csv.reader(sample, delimiter=delimiter) if row]
        except csv.Error:
            continue
        usual = max(set(widths), key=widths.count, default=1)
        score = (usual - 1) * widths.count(usual) / max(1, len(widths))
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _is_header(first: Sequence[str]) -> bool:
    if not first or len({cell.strip() for cell in first}) < len(first):
        return False
    probe = Column("probe")
    for cell in first[:MAX_NAMES]:
        if cell in NULLS - {""}:
            return False
        probe.type = None
        probe.add_texts([cell])
        if probe.type not in ("string", None):
            return False
    return any(clip(cell).strip() for cell in first)
