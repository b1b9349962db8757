"""``config.cache`` of a stage: whether, and by what, an earlier result may be reused."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.domain.checker import Checker, Path, kind_of
from app.domain.keys import from_json, key, read_object

PATTERNS_LIMIT = 100
PATTERN_LENGTH_LIMIT = 1000


def _read_version(checker: Checker, value: Any, path: Path) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        checker.problem(path, f"must be a text or a whole number, not {kind_of(value)}; quote it")
        return ""
    return checker.text(value, path)


def _read_patterns(checker: Checker, value: Any, path: Path) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        checker.problem(path, 'must be a list of files or patterns, such as ["train.py", "src/**/*.py"]')
        return ()
    if len(value) > PATTERNS_LIMIT:
        checker.problem(path, f"has {len(value)} entries; the limit is {PATTERNS_LIMIT}")
        return ()
    return tuple(_read_pattern(checker, item, (*path, str(index))) for index, item in enumerate(value))


def _read_pattern(checker: Checker, value: Any, path: Path) -> str:
    pattern = checker.text(value, path, limit=PATTERN_LENGTH_LIMIT)
    if posixpath.isabs(pattern) or ".." in pattern.split("/"):
        checker.problem(path, f"must stay within the working folder, is {pattern!r}")
    return pattern


def _restore_patterns(stored: list[str] | None) -> tuple[str, ...] | None:
    return None if stored is None else tuple(stored)


@dataclass(frozen=True)
class CachePolicy:
    """What belongs to the cache key of a stage besides what the server knows by itself.

    ``files`` are patterns relative to the working folder; None means the files that the command names. ``version`` is a
    text of the user's: when it changes, no older result is reused. ``use`` is false in a run with ``cache: false``.
    """

    version: str = field(default="", metadata=key(_read_version))
    files: tuple[str, ...] | None = field(default=None, metadata=key(_read_patterns, _restore_patterns))
    use: bool = True


def read_cache_policy(checker: Checker, value: Any, path: Path) -> CachePolicy | None:
    """``true``, or an object with ``version`` and ``files``; None for ``false``."""
    if value is False:
        return None
    if value is True:
        return CachePolicy()
    if not isinstance(value, Mapping):
        checker.problem(
            path, f"must be true, false or an object with version and files, not {kind_of(value)}"
        )
        return None
    return read_object(checker, CachePolicy, value, path)


def restore_cache_policy(stored: Mapping[str, Any] | None) -> CachePolicy | None:
    """The policy in a stored execution spec."""
    return None if stored is None else from_json(CachePolicy, stored)
