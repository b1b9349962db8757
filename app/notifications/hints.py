"""Delivery of hints inside one process: who waits for which topic."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator


class Hints:
    """The mailbox of one listener. It holds one bit, so a slow listener costs nothing and misses nothing."""

    def __init__(self) -> None:
        self._hinted = asyncio.Event()

    def add(self) -> None:
        """Wake the listener now, or make its next wait return at once."""
        self._hinted.set()

    async def wait(self, timeout_seconds: float) -> bool:
        """True if anything was hinted since the last wait, False when the time is up."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._hinted.wait()
        except TimeoutError:
            return False
        self._hinted.clear()
        return True


class Switchboard:
    """Topics and their listeners. Used from the event loop's thread only."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[Hints]] = {}

    @contextlib.contextmanager
    def listen(self, *topics: str) -> Iterator[Hints]:
        """A mailbox for these topics. Open it before reading rows, so that no change falls between the two."""
        hints = Hints()
        for topic in topics:
            self._listeners.setdefault(topic, set()).add(hints)
        try:
            yield hints
        finally:
            for topic in topics:
                self._leave(topic, hints)

    def wake(self, topics: Iterable[str]) -> None:
        """Hint everybody who listens to one of the topics."""
        for topic in topics:
            for hints in self._listeners.get(topic, ()):
                hints.add()

    def wake_all(self) -> None:
        """Hint everybody: something may have changed and nobody knows what."""
        self.wake(self._listeners)

    def _leave(self, topic: str, hints: Hints) -> None:
        listeners = self._listeners[topic]
        listeners.discard(hints)
        if not listeners:
            del self._listeners[topic]
