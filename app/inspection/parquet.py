"""The footer of a Parquet file: number of rows and columns, read without any library.

The footer is a struct in Thrift's compact protocol. Only its first fields are decoded:
1 version, 2 the schema (a flattened tree), 3 the number of rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.inspection.facts import MAX_NAMES, Inspection, Unreadable, clip

MAGIC = b"PAR1"
_FOOTER_LIMIT_BYTES = 64 << 20
_SCHEMA, _ROW_COUNT = 2, 3
_TYPE, _REPETITION, _NAME, _CHILD_COUNT, _CONVERTED, _LOGICAL = 1, 3, 4, 5, 6, 10
_TYPE_OF_PHYSICAL = {0: "boolean", 1: "integer", 2: "integer", 3: "datetime", 4: "number", 5: "number"}
_TYPE_OF_CONVERTED = {5: "number", 6: "date", 7: "string", 8: "string", 9: "datetime", 10: "datetime"}
_TYPE_OF_LOGICAL = {5: "number", 6: "date", 7: "string", 8: "datetime", 12: "json", 15: "number"}
_OPTIONAL, _REPEATED = 1, 2
_NONE = -1


def inspect_parquet(path: Path) -> Inspection:
    """The facts about a Parquet file; its size does not matter."""
    footer = _CompactReader(_footer(path)).struct(last_field=_ROW_COUNT)
    elements = footer.get(_SCHEMA)
    rows = footer.get(_ROW_COUNT)
    if not isinstance(elements, list) or not elements or not isinstance(rows, int):
        raise Unreadable("its footer lacks the schema or the number of rows")
    columns = _top_level(elements)
    return Inspection(
        format="parquet",
        row_count=rows,
        column_count=len(columns),
        schema=[_describe(element) for element in columns[:MAX_NAMES]],
    )


def _footer(path: Path) -> bytes:
    size_bytes = path.stat().st_size
    if size_bytes < 12:
        raise Unreadable("it is too short for Parquet")
    with path.open("rb") as file:
        file.seek(size_bytes - 8)
        end = file.read(8)
        length = int.from_bytes(end[:4], "little")
        if end[4:] != MAGIC:
            raise Unreadable("it was cut short, or its footer is encrypted")
        if length > min(_FOOTER_LIMIT_BYTES, size_bytes - 12):
            raise Unreadable("the length of its footer is wrong")
        file.seek(size_bytes - 8 - length)
        return file.read(length)


def _top_level(elements: list[dict[int, Any]]) -> list[dict[int, Any]]:
    """The children of the root, without what is nested in them."""
    columns: list[dict[int, Any]] = []
    nested = 0
    for element in elements[1:]:
        if nested:
            nested -= 1
        else:
            columns.append(element)
        nested += element.get(_CHILD_COUNT, 0)
    return columns


def _describe(element: dict[int, Any]) -> dict[str, Any]:
    return {
        "name": clip(element.get(_NAME, b"").decode("utf-8", "replace")),
        "type": _type(element),
        "nullable": element.get(_REPETITION) == _OPTIONAL,
    }


def _type(element: dict[int, Any]) -> str:
    if element.get(_CHILD_COUNT) or element.get(_REPETITION) == _REPEATED:
        return "json"
    logical = next(iter(element.get(_LOGICAL, {})), _NONE)
    return (
        _TYPE_OF_LOGICAL.get(logical)
        or _TYPE_OF_CONVERTED.get(element.get(_CONVERTED, _NONE))
        or _TYPE_OF_PHYSICAL.get(element.get(_TYPE, _NONE), "string")
    )


class _CompactReader:
    """Decodes Thrift's compact protocol into dictionaries of field number to value."""

    _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def struct(self, last_field: int | None = None) -> dict[int, Any]:
        """The fields up to the end of the struct, or up to ``last_field``."""
        fields: dict[int, Any] = {}
        number = 0
        while header := self._byte():
            delta, kind = header >> 4, header & 15
            number = number + delta if delta else self._zigzag()
            fields[number] = kind == self._TRUE if kind in (self._TRUE, self._FALSE) else self._value(kind)
            if number == last_field:
                break
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (self._TRUE, self._FALSE, self._BYTE):
            return self._byte()
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind == self._DOUBLE:
            return self._take(8)
        if kind == self._BINARY:
            return self._take(self._varint())
        if kind in (self._LIST, self._SET):
            return self._list()
        if kind == self._STRUCT:
            return self.struct()
        raise Unreadable("its footer can't be read")

    def _list(self) -> list[Any]:
        header = self._byte()
        length = header >> 4 if header >> 4 < 15 else self._varint()
        if length > len(self._data):
            raise Unreadable("its footer can't be read")
        return [self._value(header & 15) for _ in range(length)]

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise Unreadable("its footer can't be read")

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, length: int) -> bytes:
        taken = self._data[self._position : self._position + length]
        if len(taken) < length:
            raise Unreadable("its footer is cut short")
        self._position += length
        return taken
