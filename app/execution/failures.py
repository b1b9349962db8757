"""Logging of failures in loops that go on after any failure."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from uuid import UUID

from app.database.outages import is_outage
from app.telemetry import log_context


def log_failure(logger: logging.Logger, what: str, error: Exception) -> None:
    """Logs that ``what`` failed and will be retried: one line for an outage, with a traceback for any other error."""
    if is_outage(error):
        logger.warning("could not %s, tries again: %s", what, _line(error))
    else:
        logger.error("could not %s, tries again", what, exc_info=error)


@contextlib.contextmanager
def isolated(logger: logging.Logger, what: str, **ids: UUID | int) -> Iterator[None]:
    """Log a failure of the block and go on with the next item; an outage concerns all items, so it is raised.

    ``ids``: what the records made in the block carry, as for ``log_context``.
    """
    with log_context(**ids):
        try:
            yield
        except Exception as error:
            if is_outage(error):
                raise
            log_failure(logger, what, error)


def _line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return " ".join(f"{type(cause).__name__}: {cause}".split())
