"""A command as a process: its event loop, its signals, its log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

import typer
import uvloop

from app.settings import Settings
from app.telemetry import configure_logging

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = b"\x1b[?25h"


class Interrupts:
    """SIGINT and SIGTERM: the first one calls ``answer``, the second one ends the process at once."""

    def __init__(self, answer: Callable[[], object]) -> None:
        self._answer = answer
        self.received: signal.Signals | None = None

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """During the block signals are handled here."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._receive, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    @contextlib.contextmanager
    def answered_by(self, answer: Callable[[], object]) -> Iterator[None]:
        """During the block the first signal calls ``answer`` instead."""
        before, self._answer = self._answer, answer
        try:
            yield
        finally:
            self._answer = before

    def _receive(self, number: signal.Signals) -> None:
        if self.received is not None:
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), _SHOW_CURSOR)
            os._exit(128 + number)
        self.received = number
        self._answer()


def run_command(command: Callable[[Interrupts], Coroutine[Any, Any, int]]) -> NoReturn:
    """Run the command and exit with its code. By default the first signal cancels it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_interruptible(command))
    raise typer.Exit(code)


async def _interruptible(command: Callable[[Interrupts], Coroutine[Any, Any, int]]) -> int:
    task = asyncio.current_task()
    assert task is not None
    interrupts = Interrupts(task.cancel)
    with interrupts.installed():
        try:
            return await command(interrupts)
        except asyncio.CancelledError:
            if interrupts.received is None:
                raise
            return 128 + interrupts.received


def log_to_stderr(settings: Settings, *, quiet: bool = False) -> None:
    """Send the log to stderr. ``quiet``: only warnings, unless the environment sets another level."""
    level = "warning" if quiet and "log_level" not in settings.model_fields_set else settings.log_level
    configure_logging(level=level.upper(), form=settings.log_format, secrets=_secrets(settings))
    # Below this level alembic logs every check of the revision, but not what a migration does.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _secrets(settings: Settings) -> list[str]:
    token = settings.api_token.get_secret_value() if settings.api_token else ""
    password = urlsplit(settings.database_url or "").password or ""
    return [secret for secret in (token, unquote(password)) if secret]
