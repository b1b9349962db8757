"""Pieces of the log of a stage run, and their cursors."""

from __future__ import annotations

import re
from dataclasses import replace

import strawberry

from app.errors import DomainError
from app.graphql.shared.scalars import BigInt
from app.services.logs import LogCursor, LogSlice, decode_log

_CURSOR = re.compile(r"([0-9]{1,9}):([0-9]{1,18})(:end)?")
_BEFORE_FIRST_ATTEMPT = LogCursor(None, 0, is_end=True)
"""The position before the first attempt: all attempts follow."""


@strawberry.type(description="A piece of the log of a stage run: standard output and error of the command.")
class LogChunk:
    attempt: int = strawberry.field(
        description="Number of the attempt that printed it; 0 before the first attempt."
    )
    offset: BigInt = strawberry.field(description="Offset of its first byte in the log of the attempt.")
    next_offset: BigInt = strawberry.field(
        description="Offset after its last byte: `afterOffset` of the next piece."
    )
    cursor: str = strawberry.field(
        description="Position after the piece, also across attempts: `after` of `stageLog`."
    )
    text: str = strawberry.field(description="The text; bytes that are not UTF-8 are replaced by U+FFFD.")
    final: bool = strawberry.field(
        description="True if the attempt has ended and its log ends with this piece."
    )

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
    """The position that the cursor of a piece stands for; raises ``DomainError`` for any other text."""
    parts = _CURSOR.fullmatch(text)
    if parts is None:
        raise DomainError("This is not a cursor of a log.", path=["after"])
    attempt, offset, end = parts.groups()
    return LogCursor(int(attempt), int(offset), bool(end)) if int(attempt) else _BEFORE_FIRST_ATTEMPT
