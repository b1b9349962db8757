"""How values are written for people: safe for any terminal, short, with their unit."""

from __future__ import annotations

import datetime as dt

from app.domain.units import BYTES_PER_MB


def printable(text: str, limit: int = 200) -> str:
    """One line without control characters (a stage may print anything), shortened in the end."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def megabytes(amount: float | None) -> str:
    return "" if amount is None else f"{amount:.0f} MB"


def size(size_bytes: int) -> str:
    if size_bytes < 1024:
        return f"{size_bytes} B"
    return (
        f"{size_bytes / 1024:.1f} kB" if size_bytes < BYTES_PER_MB else f"{size_bytes / BYTES_PER_MB:.1f} MB"
    )


def clock(at: dt.datetime) -> str:
    """The local time of day."""
    return at.astimezone().strftime("%H:%M:%S")
