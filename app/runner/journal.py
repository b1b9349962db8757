"""The journal of an attempt: one JSON object per line, appended by the shim and read by the server.

Each line holds ``seq`` (from 1, without gaps), ``at`` (seconds since the epoch), ``kind`` and the fields of that kind,
and is shorter than 4 KiB.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from app.open_files import read_plain

TYPE_CHECKING = False  # importing typing would cost the shim a fifth of its start time
if TYPE_CHECKING:
    from typing import Any

READ_BYTES = 1 << 20
# The stage can write to the file, too: what is read has to fit into the database.
LARGEST_SEQ = 1 << 62
END_OF_TIME = 253_402_300_800  # the year 10000


class JournalEvent:
    """One event; ``data`` holds the fields of its kind."""

    __slots__ = ("at", "data", "kind", "seq")

    def __init__(self, seq: int, at: float, kind: str, data: dict[str, Any]) -> None:
        self.seq = seq
        self.at = at
        self.kind = kind
        self.data = data

    def __repr__(self) -> str:
        return f"JournalEvent({self.seq}, {self.at}, {self.kind!r}, {self.data!r})"


class JournalWriter:
    """Appends events; ``seq`` is that of the last one. On a full disk events are lost, and the attempt goes on."""

    def __init__(self, path: str) -> None:
        self.seq = 0
        self._torn = False
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, kind: str, **data: object) -> None:
        event = {"seq": self.seq + 1, "at": round(time.time(), 3), "kind": kind, **data}
        line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        if self._torn:
            line = b"\n" + line
        try:
            written = os.write(self._file, line)
        except OSError:
            return
        self._torn = written < len(line)
        if written >= len(line) - 1:  # the next line adds a missing newline
            self.seq += 1

    def sync(self) -> None:
        with contextlib.suppress(OSError):
            os.fsync(self._file)


def read_journal(path: str | os.PathLike[str], offset: int) -> tuple[list[JournalEvent], int]:
    """The events from ``offset`` on, and the next offset; at most 1 MiB per call.

    Reads complete lines only: an unfinished line is left for the next call. Skips lines that are not events, such as
    those torn by a full disk or a crash.
    """
    chunk = read_plain(path, READ_BYTES, offset)
    complete = chunk.rfind(b"\n") + 1
    if not complete and len(chunk) == READ_BYTES:
        complete = READ_BYTES  # no event is that long: skip the garbage
    events = [_parse(line) for line in chunk[:complete].splitlines()]
    return [event for event in events if event is not None], offset + complete


def _parse(line: bytes) -> JournalEvent | None:
    try:
        fields = json.loads(line)
        seq, at, kind = fields.pop("seq"), fields.pop("at"), fields.pop("kind")
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        return None
    if type(seq) is not int or not isinstance(at, int | float) or not isinstance(kind, str):
        return None
    if not (0 < seq < LARGEST_SEQ and 0 <= at < END_OF_TIME):  # also not NaN
        return None
    return JournalEvent(seq, at, kind, fields)
