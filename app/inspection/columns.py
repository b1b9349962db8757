"""Infers the types of columns from their values."""

from __future__ import annotations

import datetime
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from app.inspection.facts import MAX_NAMES, clip

NULLS = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"})
_BOOLEANS = frozenset({"true", "false", "True", "False", "TRUE", "FALSE"})


def _converts(convert: Callable[[str], object], texts: Sequence[str]) -> bool:
    try:
        deque(map(convert, texts), maxlen=0)
    except ValueError:
        return False
    return True


def _is_number(convert: Callable[[str], object], texts: Sequence[str]) -> bool:
    # int() takes "1_000", a notation of Python that data files do not use.
    return _converts(convert, texts) and "_" not in "".join(texts)


_FITS: Mapping[str, Callable[[Sequence[str]], bool]] = {
    "boolean": _BOOLEANS.issuperset,
    "integer": lambda texts: _is_number(int, texts),
    "number": lambda texts: _is_number(float, texts),
    "date": lambda texts: _converts(datetime.date.fromisoformat, texts),
    "datetime": lambda texts: _converts(datetime.datetime.fromisoformat, texts),
    "string": lambda texts: True,
}
# Types without a value that looks like a missing one: such values need no check.
_WITHOUT_NULLS = frozenset({"boolean", "integer", "date", "datetime"})
_MOMENTS = ("date", "datetime", "string")
_TYPE_OF_CLASS: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number"}
_COMMON = {
    frozenset({"integer", "number"}): "number",
    frozenset({"date", "datetime"}): "datetime",
}


class Column:
    """The narrowest type that fits every value of a column, and whether a value was missing."""

    def __init__(self, name: str, *, nullable: bool = False) -> None:
        self.name = name
        self.type: str | None = None
        self.nullable = nullable

    def add_texts(self, texts: Sequence[str]) -> None:
        """Takes in cells of a text file, where a missing value is empty or a usual word for it."""
        if self.type in _WITHOUT_NULLS and _FITS[self.type](texts):
            return
        if not NULLS.isdisjoint(texts):
            self.nullable = True
            texts = [text for text in texts if text not in NULLS]
        self._add(texts, tuple(_FITS))

    def add_values(self, values: Iterable[Any]) -> None:
        """Takes in values of JSON."""
        texts: list[str] = []
        for value in values:
            if isinstance(value, str):
                texts.append(value)
            elif value is None:
                self.nullable = True
            else:
                self._widen(_TYPE_OF_CLASS.get(type(value), "json"))
        self._add(texts, _MOMENTS)

    def describe(self) -> dict[str, Any]:
        return {"name": clip(self.name), "type": self.type or "string", "nullable": self.nullable}

    def _add(self, texts: Sequence[str], candidates: Sequence[str]) -> None:
        if not texts or (self.type is not None and self.type in candidates and _FITS[self.type](texts)):
            return
        self._widen(next(candidate for candidate in candidates if _FITS[candidate](texts)))

    def _widen(self, found: str) -> None:
        if self.type is None or self.type == found:
            self.type = found
        else:
            fallback = "json" if "json" in (self.type, found) else "string"
            self.type = _COMMON.get(frozenset({self.type, found}), fallback)


class RecordTable:
    """The columns of JSON objects: one per key, nullable if an object lacks the key."""

    def __init__(self) -> None:
        self.columns: dict[str, Column] = {}
        self.row_count = 0
        self.has_more_columns = False

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        for name in dict.fromkeys(name for record in records for name in record):
            if name not in self.columns:
                self._new_column(name)
        for name, column in self.columns.items():
            values = [record[name] for record in records if name in record]
            column.add_values(values)
            column.nullable = column.nullable or len(values) < len(records)
        self.row_count += len(records)

    def describe(self) -> list[dict[str, Any]]:
        return [column.describe() for column in self.columns.values()]

    def _new_column(self, name: str) -> None:
        if len(self.columns) < MAX_NAMES:
            self.columns[name] = Column(name, nullable=self.row_count > 0)
        else:
            self.has_more_columns = True
