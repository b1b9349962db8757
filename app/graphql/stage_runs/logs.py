"""Pieces of a stage's log, and the cursors that lead from one to the next."""

from __future__ import annotations

import re
from dataclasses import replace

import strawberry

from app.errors import DomainError
from app.graphql.shared.scalars import BigInt
from app.services.logs import LogCursor, LogSlice, decode_log

_CURSOR = re.compile(r"([0-9]{1,9}):([0-9]{1,18})(:end)?")
_NOTHING_MADE = LogCursor(None, 0, is_end=True)
"""Before the first attempt: all of them follow."""


@strawberry.type(description="A piece of what a stage printed.")
class LogChunk:
    attempt: int = strawberry.field(description="The attempt which printed it.")
    offset: BigInt = strawberry.field(description="Place of its first byte in the log.")
    next_offset: BigInt = strawberry.field(description="Where to go on reading.")
    cursor: str = strawberry.field(
        description="Where to go on following, through later attempts too: `after` of stageLog."
    )
    text: str = strawberry.field(description="The text; bytes which are not UTF-8 show as U+FFFD.")
    final: bool = strawberry.field(description="The log is complete and ends with this piece.")

    @classmethod
    def of(cls, piece: LogSlice) -> LogChunk:
        text, used_bytes = decode_log(piece.data, final=piece.final)
        return cls(
            attempt=piece.attempt,
            offset=BigInt(piece.offset),
            next_offset=BigInt(piece.offset + used_bytes),
            cursor=encode_cursor(replace(piece.cursor, offset=piece.offset + used_bytes)),
            text=text,
            final=piece.final,
        )


def encode_cursor(cursor: LogCursor) -> str:
    return f"{cursor.attempt or 0}:{cursor.offset or 0}{':end' if cursor.is_end else ''}"


def decode_cursor(text: str) -> LogCursor:
    """The place which the cursor of a piece stands for; raises ``DomainError`` for anything else."""
    parts = _CURSOR.fullmatch(text)
    if parts is None:
        raise DomainError("This is not a cursor of a log.", path=["after"])
    attempt, offset, end = parts.groups()
    return LogCursor(int(attempt), int(offset), bool(end)) if int(attempt) else _NOTHING_MADE
