"""The captured output of a stage, bounded: its beginning and, if that is not all, its last 64 KiB."""

from __future__ import annotations

import os

from app.runner.journal import JournalWriter

TAIL_BYTES = 64 << 10


class BoundedLog:
    """Writes the first ``limit_bytes`` to disk as they come, and holds the tail in memory until the end.

    ``kept_bytes`` counts the output that the file holds, ``dropped_bytes`` the rest (exact after ``close``). A full
    disk ends the beginning early; it does not end the stage.
    """

    def __init__(self, path: str, limit_bytes: int, journal: JournalWriter) -> None:
        self.kept_bytes = 0
        self.dropped_bytes = 0
        self._room_bytes = limit_bytes
        self._journal = journal
        self._tail = b""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, chunk: bytes) -> None:
        head, rest = chunk[: self._room_bytes], chunk[self._room_bytes :]
        if head:
            unwritten = self._write(head)
            self.kept_bytes += len(head) - len(unwritten)
            self._room_bytes = 0 if unwritten else self._room_bytes - len(head)
            rest = unwritten + rest
        if rest:
            self._hold(rest)

    def close(self) -> None:
        """Appends the marker and the tail, then makes the file durable."""
        if self.dropped_bytes:
            self._append_tail()
        try:
            os.fsync(self._file)
        except OSError as error:
            self._report(error)

    def _hold(self, rest: bytes) -> None:
        if not self.dropped_bytes:
            self._journal.write("logTruncated", logBytes=self.kept_bytes)
        self.dropped_bytes += len(rest)
        self._tail = (self._tail + rest)[-TAIL_BYTES:]

    def _append_tail(self) -> None:
        lost = self.dropped_bytes - len(self._tail)
        marker = b"\n[... %d bytes dropped ...]\n" % lost if lost else b""
        unwritten = self._write(marker + self._tail)
        kept = max(0, len(self._tail) - len(unwritten))
        self.kept_bytes += kept
        self.dropped_bytes -= kept

    def _write(self, data: bytes) -> bytes:
        """Appends to the file; returns what the disk did not take."""
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            self._report(error)
        return data

    def _report(self, error: OSError) -> None:
        self._journal.write("logError", errno=error.errno, error=error.strerror)
