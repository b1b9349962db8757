"""Values as text for people: safe for any terminal, short, with their unit."""

from __future__ import annotations

import datetime as dt

from app.domain.units import BYTES_PER_MB


def printable(text: str, limit: int = 200) -> str:
    """One line without control characters, which a stage may print; a long one is cut at its end."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def duration(seconds: float | None) -> str:
    """``4.2 s``, ``3 min 07 s`` or ``2 h 05 min``; empty for None."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def megabytes(amount: float | None) -> str:
    """``512 MB``; empty for None."""
    return "" if amount is None else f"{amount:.0f} MB"


def size(size_bytes: int) -> str:
    """``17 B``, ``2.5 kB`` or ``31.0 MB``."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    return (
        f"{size_bytes / 1024:.1f} kB" if size_bytes < BYTES_PER_MB else f"{size_bytes / BYTES_PER_MB:.1f} MB"
    )


def clock(at: dt.datetime) -> str:
    """The local time of day."""
    return at.astimezone().strftime("%H:%M:%S")
