"""The safe walk of a stage's output folder.

A stage may leave anything there: links to files of the server, pipes, a million names. The walk follows no link,
opens plain files only, and refuses by name what can't become an artifact.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.open_files import FOLDER_FLAGS, open_beneath

_SWAPPED = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENODEV})
_UNREADABLE = frozenset({errno.EACCES, errno.EPERM, errno.EIO})
_MAX_NAME_BYTES = 255
_MAX_PATH_BYTES = 1000
_MAX_REFUSALS = 100


class RefusalReason(enum.StrEnum):
    """Why an entry of the output folder can't become an artifact."""

    NOT_A_FILE = "NOT_A_FILE"
    HARD_LINK = "HARD_LINK"
    BAD_NAME = "BAD_NAME"
    NAME_COLLISION = "NAME_COLLISION"
    UNREADABLE = "UNREADABLE"
    OUTPUT_CHANGED = "OUTPUT_CHANGED"
    TOO_DEEP = "TOO_DEEP"
    TOO_MANY_FILES = "TOO_MANY_FILES"
    TOO_MANY_BYTES = "TOO_MANY_BYTES"


class OutputRefused(Exception):
    """An entry was refused; ``path`` is relative to the output folder and safe to print."""

    def __init__(self, path: str, reason: RefusalReason, explanation: str) -> None:
        self.path = printable(path)
        self.reason = reason
        self.message = f"{self.path}: {explanation}"
        super().__init__(self.message)


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A plain file as the walk saw it; ``relative_path`` has ``/`` between its parts."""

    folder: Path
    relative_path: str
    size_bytes: int
    identity: tuple[int, ...]

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor for reading the file, open inside the ``with`` block.

        Raises ``OutputRefused`` (OUTPUT_CHANGED) on entry if this is not the file that was listed, and on exit if it
        was written to in between: then the bytes read are worthless.
        """
        with _refusing_os_errors(self.relative_path):
            fd = _open_file(self.folder, self.relative_path)
        try:
            self._require_unchanged(fd)
            yield fd
            self._require_unchanged(fd)
        finally:
            os.close(fd)

    def _require_unchanged(self, fd: int) -> None:
        if _identity(os.fstat(fd)) != self.identity:
            raise OutputRefused(
                self.relative_path, RefusalReason.OUTPUT_CHANGED, "it was changed while it was collected"
            )


@dataclass(slots=True)
class OutputWalk:
    """The contents of an output folder: the files to collect, by path, and at most 100 refused entries."""

    files: list[OutputFile] = field(default_factory=list)
    refusals: list[OutputRefused] = field(default_factory=list)


def walk_outputs(folder: Path, *, max_files: int, max_bytes: int, max_depth: int) -> OutputWalk:
    """Lists ``folder`` in the order of names, without reading any file.

    ``max_files`` limits the files and, separately, the folders; ``max_depth`` 1 allows no folders below it. A limit
    ends the walk with one refusal. A missing folder is empty.
    """
    walker = _Walker(folder, max_files, max_bytes, max_depth)
    if os.path.lexists(folder):
        with contextlib.suppress(_WalkEnded):
            walker.visit_root()
    return walker.walk


class _WalkEnded(Exception):
    """A limit was reached: the rest is not listed."""


class _Walker:
    def __init__(self, folder: Path, max_files: int, max_bytes: int, max_depth: int) -> None:
        self.walk = OutputWalk()
        self._folder = folder
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._max_depth = max_depth
        self._file_count = 0
        self._folder_count = 0
        self._byte_count = 0
        self._normal_paths: set[str] = set()

    def visit_root(self) -> None:
        try:
            with _refusing_os_errors("."):
                root_fd = os.open(self._folder, FOLDER_FLAGS)
        except OutputRefused as refusal:
            self._refuse(refusal)
            return
        try:
            self._visit_folder(root_fd, ())
        finally:
            os.close(root_fd)

    def _visit_folder(self, folder_fd: int, parents: tuple[str, ...]) -> None:
        for name in self._names(folder_fd, parents):
            path = "/".join((*parents, name))
            try:
                with _refusing_os_errors(path):
                    status = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        self._enter(folder_fd, name, parents)
                    else:
                        self._visit_file(path, name, status)
            except OutputRefused as refusal:
                self._refuse(refusal)

    def _names(self, folder_fd: int, parents: tuple[str, ...]) -> list[str]:
        names: list[str] = []
        with os.scandir(folder_fd) as entries:
            for entry in entries:
                names.append(entry.name)
                if len(names) > 2 * self._max_files:
                    self._end("/".join(parents) or ".", RefusalReason.TOO_MANY_FILES, self._too_many_files())
        return sorted(names)

    def _enter(self, folder_fd: int, name: str, parents: tuple[str, ...]) -> None:
        path = "/".join((*parents, name))
        self._folder_count += 1
        if self._folder_count > self._max_files:
            self._end(path, RefusalReason.TOO_MANY_FILES, f"more than {self._max_files} folders")
        _require_good_name(path, name)
        if len(parents) + 1 >= self._max_depth:
            raise OutputRefused(path, RefusalReason.TOO_DEEP, f"deeper than {self._max_depth} levels")
        child_fd = os.open(name, FOLDER_FLAGS, dir_fd=folder_fd)
        try:
            self._visit_folder(child_fd, (*parents, name))
        finally:
            os.close(child_fd)

    def _visit_file(self, path: str, name: str, status: os.stat_result) -> None:
        self._file_count += 1
        if self._file_count > self._max_files:
            self._end(path, RefusalReason.TOO_MANY_FILES, self._too_many_files())
        _require_good_name(path, name)
        _require_plain_file(path, status)
        self._require_distinct(path)
        self._byte_count += status.st_size
        if self._byte_count > self._max_bytes:
            self._end(path, RefusalReason.TOO_MANY_BYTES, f"the outputs exceed {self._max_bytes} bytes")
        self.walk.files.append(OutputFile(self._folder, path, status.st_size, _identity(status)))

    def _require_distinct(self, path: str) -> None:
        normal = unicodedata.normalize("NFC", path)
        if normal in self._normal_paths:
            raise OutputRefused(
                path, RefusalReason.NAME_COLLISION, "another file has the same name in other code points"
            )
        self._normal_paths.add(normal)

    def _refuse(self, refusal: OutputRefused) -> None:
        self.walk.refusals.append(refusal)
        if len(self.walk.refusals) >= _MAX_REFUSALS:
            raise _WalkEnded

    def _end(self, path: str, reason: RefusalReason, explanation: str) -> None:
        self.walk.refusals.append(OutputRefused(path, reason, explanation))
        raise _WalkEnded

    def _too_many_files(self) -> str:
        return f"more than {self._max_files} files"


def printable(path: str) -> str:
    """``path`` as valid text on one line: characters that can't be printed are written as escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in path[: 4 * _MAX_NAME_BYTES]
    )


def _require_good_name(path: str, name: str) -> None:
    problem = _name_problem(path, name)
    if problem is not None:
        raise OutputRefused(path, RefusalReason.BAD_NAME, problem)


def _name_problem(path: str, name: str) -> str | None:
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if any(unicodedata.category(character) == "Cc" for character in name):
        return "its name has a control character"
    if "\\" in name:
        return "its name has a backslash"
    if len(encoded) > _MAX_NAME_BYTES:
        return f"its name is longer than {_MAX_NAME_BYTES} bytes"
    if len(path.encode()) > _MAX_PATH_BYTES:
        return f"its path is longer than {_MAX_PATH_BYTES} bytes"
    return None


def _require_plain_file(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OutputRefused(path, RefusalReason.NOT_A_FILE, f"it is {_kind(status.st_mode)}, not a file")
    if status.st_nlink != 1:
        raise OutputRefused(path, RefusalReason.HARD_LINK, "it has another name (a hard link)")


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFDIR: "a folder",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_dev,
        status.st_ino,
        status.st_nlink,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _open_file(folder: Path, relative_path: str) -> int:
    folder_fd = os.open(folder, FOLDER_FLAGS)
    try:
        return open_beneath(folder_fd, relative_path.split("/"))
    finally:
        os.close(folder_fd)


@contextlib.contextmanager
def _refusing_os_errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _SWAPPED:
            raise OutputRefused(
                path, RefusalReason.OUTPUT_CHANGED, "something else took its place while it was collected"
            ) from error
        if error.errno in _UNREADABLE:
            raise OutputRefused(path, RefusalReason.UNREADABLE, f"{error.strerror}") from error
        raise
