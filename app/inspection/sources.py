"""Opens files as text or as bytes; detects compression and encoding."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from app.inspection.facts import Unreadable

_SAMPLE_BYTES = 1 << 16
_BINARY = bytes(code for code in range(32) if chr(code) not in "\t\n\v\f\r\x1b")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class TextSource:
    """An open text file; close ``stream``."""

    stream: io.TextIOWrapper
    encoding: str
    compression: str | None

    def details(self) -> dict[str, str]:
        found = {"encoding": self.encoding}
        return found if self.compression is None else found | {"compression": self.compression}


def open_text(path: Path) -> TextSource:
    """Opens UTF-8, UTF-16 with a byte order mark, or else Latin-1. Raises ``Unreadable`` if it is not text."""
    stream, compression = open_bytes(path)
    try:
        sample = stream.read(_SAMPLE_BYTES)
        stream.seek(0)
        encoding = _encoding(sample)
    except BaseException:
        stream.close()
        raise
    return TextSource(
        io.TextIOWrapper(stream, encoding=encoding, errors="replace", newline=""),
        encoding,
        compression,
    )


def open_bytes(path: Path) -> tuple[BinaryIO, str | None]:
    """The decompressed content of the file, and the name of its compression."""
    with path.open("rb") as file:
        head = file.read(6)
    if head.startswith(b"\x1f\x8b"):
        return cast(BinaryIO, gzip.open(path, "rb")), "gzip"
    if head.startswith(b"BZh"):
        return cast(BinaryIO, bz2.open(path, "rb")), "bzip2"
    if head.startswith(b"\xfd7zXZ\x00"):
        return cast(BinaryIO, lzma.open(path, "rb")), "xz"
    return path.open("rb"), None


def read_head(path: Path, limit_bytes: int) -> tuple[bytes, str | None]:
    """The first bytes of the decompressed content (also of bare zlib, as joblib writes it)."""
    stream, compression = open_bytes(path)
    with stream:
        content = stream.read(limit_bytes)
    if compression is None and content[:1] == b"x" and content[1:2] in (b"\x01", b"\x5e", b"\x9c", b"\xda"):
        return zlib.decompressobj().decompress(content, limit_bytes), "zlib"
    return content, compression


def _encoding(sample: bytes) -> str:
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return encoding
    if len(sample.translate(None, _BINARY)) < len(sample):
        raise Unreadable("it is not text")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"
