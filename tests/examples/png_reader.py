"""Reads the PNG files of the examples strictly: signature, chunk order and every checksum."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple


class Picture(NamedTuple):
    """An 8-bit RGB picture without row filters."""

    width: int
    height: int
    rows: list[bytes]

    def pixel(self, x: int, y: int) -> tuple[int, int, int]:
        red, green, blue = self.rows[y][3 * x : 3 * x + 3]
        return red, green, blue


def read_png(data: bytes) -> Picture:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks = _chunks(data[8:])
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *kind = struct.unpack(">IIBBBBB", chunks[0][1])
    assert kind == [8, 2, 0, 0, 0]
    raw, stride = zlib.decompress(chunks[1][1]), 1 + 3 * width
    assert len(raw) == height * stride
    lines = [raw[start : start + stride] for start in range(0, len(raw), stride)]
    assert {line[0] for line in lines} == {0}
    return Picture(width, height, [line[1:] for line in lines])


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks = []
    while data:
        (length,) = struct.unpack(">I", data[:4])
        kind, body = data[4:8], data[8 : 8 + length]
        (checksum,) = struct.unpack(">I", data[8 + length : 12 + length])
        assert checksum == zlib.crc32(kind + body)
        chunks.append((kind, body))
        data = data[12 + length :]
    return chunks
