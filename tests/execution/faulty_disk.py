"""Makes one call that changes the file system fail. Standard library only: it is also loaded into shims."""

from __future__ import annotations

import io
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CALLS = (
    "mkdir",
    "rename",
    "replace",
    "link",
    "write",
    "pwrite",
    "fsync",
    "posix_fallocate",
    "copy_file_range",
)


class OneFault:
    """Happens at the N-th occasion after it was armed, once, and says so."""

    def __init__(self, say: Callable[[], object] = lambda: None) -> None:
        self._left: int | None = None
        self._say = say

    def arm(self, number: int) -> None:
        self._left = number

    def has_happened(self) -> bool:
        """Ends the wait for it."""
        happened, self._left = self._left is None, None
        return happened

    def is_now(self) -> bool:
        if self._left is None:
            return False
        self._left -= 1
        if self._left > 0:
            return False
        self._left = None
        self._say()
        return True


def install(fault: OneFault, error_number: int, patch: Callable[[Any, str, Any], object] = setattr) -> None:
    """From now on the faulty call raises ``OSError`` with this number instead of doing anything."""

    def failing(call: Callable[..., Any], is_write: Callable[..., bool]) -> Callable[..., Any]:
        def perhaps(*args: Any, **options: Any) -> Any:
            if is_write(*args, **options) and fault.is_now():
                raise OSError(error_number, os.strerror(error_number))
            return call(*args, **options)

        return perhaps

    for name in CALLS:
        patch(os, name, failing(getattr(os, name), lambda *_, **__: True))
    patch(os, "open", failing(os.open, _creates))
    patch(io, "open", failing(io.open, _writes))


def _creates(path: object, flags: int, *_: object, **__: object) -> bool:
    return bool(flags & os.O_CREAT)


def _writes(file: object, mode: str = "r", *_: object, **__: object) -> bool:
    return not mode.startswith("r")
