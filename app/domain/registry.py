"""The model registry: which names and aliases are allowed, and what the history of aliases means."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from app.domain.vocabulary import AliasMoveKind

NAME_LIMIT = 200
ALIAS_LIMIT = 100
LARGEST_VERSION = 2**31 - 1
ALIASES_LIMIT = 20
"""How many aliases one output of a stage may set."""

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NUMBER = re.compile(r"v?[0-9]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AliasMove:
    """An entry of the history; versions are numbers, and ``None`` means that there was or is no such alias."""

    alias: str
    kind: AliasMoveKind
    from_version: int | None
    to_version: int | None
    is_protected: bool


@dataclass(frozen=True, slots=True)
class AliasState:
    """Where an alias points, and whether it is protected."""

    version: int
    is_protected: bool


def name_problem(name: str) -> str | None:
    """Why a registered model can't have this name; ``None`` if it can. Names are parts of addresses."""
    return _word_problem(name, NAME_LIMIT)


def alias_problem(alias: str) -> str | None:
    """Why a version can't have this alias; ``None`` if it can."""
    if _NUMBER.fullmatch(alias):
        return f"must not look like a version: {alias!r}"
    return _word_problem(alias, ALIAS_LIMIT)


def _word_problem(word: str, limit: int) -> str | None:
    if len(word) > limit:
        return f"must have at most {limit} characters, has {len(word)}"
    if not _WORD.fullmatch(word):
        return "must begin with a letter or digit (A-Z, a-z, 0-9) and continue with these or . _ -"
    return None


def replay(moves: Iterable[AliasMove]) -> Mapping[str, AliasState]:
    """The aliases after these moves, which are all moves of one registered model in their order."""
    aliases: dict[str, AliasState] = {}
    for move in moves:
        if move.to_version is None:
            del aliases[move.alias]
        else:
            aliases[move.alias] = AliasState(move.to_version, move.is_protected)
    return aliases


def previous_version(moves: Iterable[AliasMove], existing: Collection[int]) -> int | None:
    """The version that an alias pointed to before its present one, given all moves of this alias in their order.

    Moving back again leads further back: a version that the alias was moved back from does not count. Nor do versions
    that were deleted, and what happened before the alias was last removed.
    """
    path: list[int] = []
    for move in moves:
        if move.to_version is None:
            path.clear()
        elif move.kind is AliasMoveKind.SET:
            path.append(move.to_version)
        elif move.kind is AliasMoveKind.MOVED_BACK:
            path.pop()
            while path[-1] != move.to_version:
                path.pop()
    earlier = (version for version in reversed(path) if version in existing and version != path[-1])
    return next(earlier, None)
