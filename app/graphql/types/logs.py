"""Pieces of a stage's log."""

from __future__ import annotations

import strawberry

from app.graphql.scalars import BigInt
from app.services.logs import LogSlice, decode_log


@strawberry.type(description="A piece of what a stage printed.")
class LogChunk:
    attempt: int = strawberry.field(description="The attempt which printed it.")
    offset: BigInt = strawberry.field(description="Place of its first byte in the log.")
    next_offset: BigInt = strawberry.field(description="Where to go on reading.")
    text: str = strawberry.field(description="The text; bytes which are not UTF-8 show as U+FFFD.")
    final: bool = strawberry.field(description="The log is complete and ends with this piece.")

    @classmethod
    def of(cls, piece: LogSlice) -> LogChunk:
        text, used_bytes = decode_log(piece.data, final=piece.final)
        return cls(
            attempt=piece.attempt,
            offset=BigInt(piece.offset),
            next_offset=BigInt(piece.offset + used_bytes),
            text=text,
            final=piece.final,
        )
