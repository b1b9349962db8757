"""PNG pictures from rectangles, grey images and text, with zlib and struct alone."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import glyphs
import numpy as np

Colour = tuple[int, int, int]

WHITE, INK, GREY, RULE = (255, 255, 255), (24, 32, 51), (107, 118, 138), (226, 230, 238)


class Canvas:
    """A picture to draw on; x runs to the right, y down, both in pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.pixels = np.full((height, width, 3), 255, dtype=np.uint8)

    def fill(self, x: int, y: int, width: int, height: int, colour: Colour) -> None:
        self.pixels[y : y + height, x : x + width] = colour

    def image(self, x: int, y: int, shades: np.ndarray[Any, Any], scale: int, colour: Colour) -> None:
        """Draws a matrix of 0 (white) to 1 (`colour`), each value `scale` pixels wide and high."""
        self._blend(x, y, np.kron(shades, np.ones((scale, scale))), colour)

    def text(
        self, x: int, y: int, text: str, colour: Colour = INK, scale: int = 2, upwards: bool = False
    ) -> None:
        """Writes around the centre (x, y); `upwards` turns the text to read from below."""
        line = np.zeros((glyphs.HEIGHT * scale, text_width(text, scale)))
        for index, sign in enumerate(text.upper()):
            if sign != " ":
                left = index * glyphs.ADVANCE * scale
                line[:, left : left + glyphs.WIDTH * scale] = glyphs.coverage(sign, scale)
        if upwards:
            line = np.rot90(line)
        self._blend(x - line.shape[1] // 2, y - line.shape[0] // 2, line, colour)

    def _blend(self, x: int, y: int, cover: np.ndarray[Any, Any], colour: Colour) -> None:
        below = self.pixels[y : y + cover.shape[0], x : x + cover.shape[1]]
        below[:] = (below + (np.array(colour) - below.astype(float)) * cover[..., None]).round()

    def save(self, path: Path) -> None:
        path.write_bytes(png_bytes(self.pixels))


def text_width(text: str, scale: int) -> int:
    """How wide `Canvas.text` writes this, in pixels."""
    return (len(text) * glyphs.ADVANCE - 1) * scale


def shade(colour: Colour, strength: float) -> Colour:
    """The colour on white paper, at 0 to 1 of its strength."""
    red, green, blue = (round(255 + (part - 255) * strength) for part in colour)
    return red, green, blue


def png_bytes(pixels: np.ndarray[Any, Any]) -> bytes:
    """An 8-bit RGB PNG of a (height, width, 3) array."""
    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    unfiltered = b"".join(b"\x00" + row.tobytes() for row in pixels)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(unfiltered, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
