"""Refuses values in requests that PostgreSQL can't store."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from app.domain.text import LARGEST_NUMBER, NESTING_LIMIT, SMALLEST_NUMBER, is_storable
from app.errors import DomainError, InvalidInput


def storable(draft: dict[str, Any]) -> dict[str, Any]:
    """``draft`` itself; raises ``InvalidInput`` if something in it can't be stored."""
    refuse_unstorable(draft)
    return draft


def refuse_unstorable(value: Any, *path: str) -> None:
    """Raise ``InvalidInput`` with the path of each text or number that PostgreSQL can't store."""
    problems = [DomainError(message, path=where) for where, message in unstorable(value, path)]
    if problems:
        raise InvalidInput(problems)


def unstorable(value: Any, path: tuple[str, ...], depth: int = 0) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path, message) of NUL characters, lone surrogates, numbers without a JSON form, and too deep nesting."""
    if depth > NESTING_LIMIT:
        yield path, f"Nested more than {NESTING_LIMIT} levels deep."
    elif isinstance(value, str):
        if not is_storable(value):
            yield path, "Text must not contain NUL characters or lone surrogates."
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield path, "Numbers must be finite."
    elif isinstance(value, int):
        if not SMALLEST_NUMBER <= value <= LARGEST_NUMBER:
            yield path, "Integers must fit into 64 bits."
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from unstorable(key, path, depth)
            yield from unstorable(item, (*path, str(key)), depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from unstorable(item, (*path, str(index)), depth + 1)
