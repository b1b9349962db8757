"""Delivery of notifications inside one process: mailboxes of listeners, by topic."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator


class Mailbox:
    """Wakes one listener. It holds one bit, so notifications that arrive between two waits become one."""

    def __init__(self) -> None:
        self._notified = asyncio.Event()

    def notify(self) -> None:
        """Wake the listener now, or make its next wait return at once."""
        self._notified.set()

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait for a notification since the last wait; False when the time has run out first."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._notified.wait()
        except TimeoutError:
            return False
        self._notified.clear()
        return True


class Switchboard:
    """The mailboxes of all listeners, by topic. Used from the event loop's thread only."""

    def __init__(self) -> None:
        self._mailboxes: dict[str, set[Mailbox]] = {}

    @contextlib.contextmanager
    def listen(self, *topics: str) -> Iterator[Mailbox]:
        """A mailbox for these topics. Open it before reading rows, so that a change after the read wakes it."""
        mailbox = Mailbox()
        for topic in topics:
            self._mailboxes.setdefault(topic, set()).add(mailbox)
        try:
            yield mailbox
        finally:
            for topic in topics:
                self._remove(topic, mailbox)

    def notify(self, topics: Iterable[str]) -> None:
        """Notify every listener of one of these topics."""
        for topic in topics:
            for mailbox in self._mailboxes.get(topic, ()):
                mailbox.notify()

    def notify_all(self) -> None:
        """Notify every listener, when it is unknown what has changed."""
        self.notify(self._mailboxes)

    def _remove(self, topic: str, mailbox: Mailbox) -> None:
        mailboxes = self._mailboxes[topic]
        mailboxes.discard(mailbox)
        if not mailboxes:
            del self._mailboxes[topic]
