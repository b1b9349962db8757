"""Digests of the files in the cache key of a stage, as they are on this host now."""

from __future__ import annotations

import glob
import hashlib
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePath

from app.domain.specs import StageConfig
from app.errors import DomainError

FILES_LIMIT = 2_000

_SHELLS = ("sh", "bash", "dash", "ksh", "zsh")
_DERIVED = "__pycache__"
"""Python writes it beside its sources, so it would change with the first execution."""


class FilesUnreadable(DomainError):
    """The declared files of a stage can't be found or read, so it has no cache key."""


def digests_of_declared(config: StageConfig) -> dict[str, str]:
    """SHA-256 by path of the files that ``cache.files`` matches or, by default, that the command names.

    Blocks until all of them are read. Raises ``FilesUnreadable``.
    """
    patterns = None if config.cache is None else config.cache.files
    # Without a working folder the attempt starts in an empty one: only an absolute path can name a file there.
    folder = Path(config.workdir or "/nonexistent")
    named = _named_by(config.command, folder) if patterns is None else _matched_by(patterns, folder)
    return {_printable(name): _digest(folder / name) for name in sorted(set(named))}


def _named_by(command: Sequence[str], folder: Path) -> Iterator[str]:
    return (word for word in _words(command) if _is_file(folder / word))


def _words(command: Sequence[str]) -> Sequence[str]:
    """The arguments, or the words of a shell line without its operators."""
    if PurePath(command[0]).name not in _SHELLS or [*command[1:2]] != ["-c"]:
        return command
    text = " ".join(command[2:])
    line = shlex.shlex(text, posix=True, punctuation_chars=True)
    line.whitespace_split = True
    try:
        return list(line)
    except ValueError:  # an unclosed quote, which the shell will refuse
        return text.split()


def _matched_by(patterns: Iterable[str], folder: Path) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        matches = set(islice(_files_like(pattern, folder), FILES_LIMIT + 1))
        if not matches:
            raise FilesUnreadable(f"cache.files: {pattern!r} matches no file in {folder}")
        found |= matches
        if len(found) > FILES_LIMIT:
            raise FilesUnreadable(f"cache.files: more than {FILES_LIMIT} files match in {folder}")
    return found


def _files_like(pattern: str, folder: Path) -> Iterator[str]:
    """As in a shell: a leading dot is matched by a dot only, ``**`` by any number of folders."""
    for name in glob.iglob(pattern, root_dir=folder, recursive=True):  # noqa: PTH207 (that one is no shell's)
        path = PurePath(name)
        if _DERIVED not in path.parts and _is_file(folder / path):
            yield str(path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the word may be too long for a path, or the folder unreadable
        return False


def _digest(path: Path) -> str:
    try:
        # O_NONBLOCK: a pipe in place of the file must not block.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FilesUnreadable(f"cache.files: can't read {path}: {error.strerror or error}") from error


def _printable(name: str) -> str:
    """File names are bytes that need not be valid text."""
    return os.fsencode(name).decode(errors="backslashreplace")
