"""What decides, besides what the server knows by itself, whether a stored result may be reused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CachePolicy:
    """What belongs to the key besides what the server knows by itself.

    ``files`` are patterns relative to the working folder; None means the files which the command names. ``version``
    is a text of the user's: when it changes, nothing older is taken over.
    """

    version: str = ""
    files: tuple[str, ...] | None = None
