"""What differs between runs: settings, figures, and the columns of their datasets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.text import NAMED_NUMBERS

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a dataset; ``type`` as the inspection names it, ``None`` if unknown."""

    name: str
    type: str | None


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """The difference between the columns of two datasets."""

    added: tuple[Column, ...] = ()
    removed: tuple[Column, ...] = ()
    retyped: tuple[tuple[Column, Column], ...] = ()


def in_order_of_appearance(lists: Iterable[Iterable[str]]) -> list[str]:
    """All names of the lists, each once."""
    return list(dict.fromkeys(name for names in lists for name in names))


def differences(documents: Sequence[Mapping[str, Any] | None]) -> dict[Path, list[Any]]:
    """The paths at which JSON objects differ, with the value of each object; an absent value counts as null.

    ``None`` stands for an object that does not exist: its values are null and are not compared.
    """
    flat = [None if document is None else flattened(document) for document in documents]
    existing = [values for values in flat if values is not None]
    paths = dict.fromkeys(path for values in existing for path in values)
    return {
        path: [None if values is None else values.get(path) for values in flat]
        for path in paths
        if not all_alike([values.get(path) for values in existing])
    }


def flattened(document: Mapping[str, Any], path: Path = ()) -> dict[Path, Any]:
    """The values by their paths; lists and empty objects count as values."""
    found: dict[Path, Any] = {}
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            found.update(flattened(value, (*path, name)))
        else:
            found[*path, name] = value
    return found


def all_alike(values: Sequence[Any]) -> bool:
    """Whether all values are equal as JSON, where true is not 1."""
    first = values[0]
    return all(value == first and isinstance(value, bool) == isinstance(first, bool) for value in values)


def deltas(values: Sequence[float | None]) -> list[float | None]:
    """Each value minus the first; ``None`` where one of the two is unknown."""
    first = values[0]
    return [None if value is None or first is None else _difference(value, first) for value in values]


def _difference(value: float, first: float) -> float:
    """Zero for equal infinities, whose difference is not a number."""
    return 0.0 if value == first else value - first


def number(value: Any) -> float | None:
    """The value of a stored metric, which is a number or the name of one that JSON can't express."""
    if isinstance(value, str):
        return NAMED_NUMBERS.get(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def columns_of(schema: Any) -> dict[str, Column] | None:
    """The columns in a stored ``schema`` by name; ``None`` if they are unknown."""
    if not isinstance(schema, list):
        return None
    named = [item for item in schema if isinstance(item, Mapping) and isinstance(item.get("name"), str)]
    return {item["name"]: Column(item["name"], type_of(item)) for item in named}


def type_of(item: Mapping[str, Any]) -> str | None:
    return None if item.get("type") is None else str(item["type"])


def schema_change(before: Any, after: Any) -> SchemaChange | None:
    """How the stored schema ``after`` differs from ``before``; ``None`` if one of them is unknown."""
    old, new = columns_of(before), columns_of(after)
    if old is None or new is None:
        return None
    kept = [name for name in old if name in new]
    return SchemaChange(
        added=tuple(column for name, column in new.items() if name not in old),
        removed=tuple(column for name, column in old.items() if name not in new),
        retyped=tuple((old[name], new[name]) for name in kept if old[name].type != new[name].type),
    )
