"""What a writer of rows needs of the notifications: a way to say that rows changed."""

from __future__ import annotations

from typing import Protocol


class Notifier(Protocol):
    """Notifies other tasks and processes that rows changed; a lost notification costs latency only."""

    def publish(self, *topics: str) -> None:
        """Notifies the listeners of these topics in every process; never blocks or raises. Call it after the commit."""

    def publish_local(self, *topics: str) -> None:
        """Notifies the listeners of this process only."""
