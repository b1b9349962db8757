"""What the name of a file says about its content."""

from __future__ import annotations

from pathlib import PurePosixPath

COMPRESSIONS = frozenset({".gz", ".bz2", ".xz", ".zst"})


def content_suffix(name: str) -> str:
    """The suffix that says what a file holds, in lower case and without that of its compression: ``.csv``."""
    path = PurePosixPath(name.lower())
    return PurePosixPath(path.stem).suffix if path.suffix in COMPRESSIONS else path.suffix
