"""``config.cache`` of a stage: whether, and by what, an earlier execution may stand in for a new one."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.cache.policy import CachePolicy
from app.domain.input.checker import Path, Reader, kind_of

CACHE_KEYS = ("version", "files")
PATTERNS_LIMIT = 100
PATTERN_LENGTH_LIMIT = 1000


def read_cache_policy(reader: Reader, value: Any, path: Path) -> CachePolicy | None:
    """``true``, or an object with ``version`` and ``files``; None when the stage is to be executed every time."""
    if value is None or value is False:
        return None
    if value is True:
        return CachePolicy()
    if not isinstance(value, Mapping):
        reader.problem(path, f"must be true, false or an object with version and files, not {kind_of(value)}")
        return None
    raw = reader.mapping(value, path, CACHE_KEYS)
    return CachePolicy(
        version=_version(reader, raw.get("version"), (*path, "version")),
        files=_patterns(reader, raw.get("files"), (*path, "files")),
    )


def _version(reader: Reader, value: Any, path: Path) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        reader.problem(path, f"must be a text or a whole number, not {kind_of(value)}; quote it")
        return ""
    return reader.text(value, path)


def _patterns(reader: Reader, value: Any, path: Path) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, str):
        reader.problem(path, 'must be a list of files or patterns, such as ["train.py", "src/**/*.py"]')
        return ()
    if len(value) > PATTERNS_LIMIT:
        reader.problem(path, f"has {len(value)} entries; the limit is {PATTERNS_LIMIT}")
        return ()
    return tuple(_pattern(reader, item, (*path, str(index))) for index, item in enumerate(value))


def _pattern(reader: Reader, value: Any, path: Path) -> str:
    pattern = reader.text(value, path, limit=PATTERN_LENGTH_LIMIT)
    if posixpath.isabs(pattern) or ".." in pattern.split("/"):
        reader.problem(path, f"must stay within the working folder, is {pattern!r}")
    return pattern
