"""How loops that go on whatever happens tell of what went wrong."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from app.database.outages import is_outage


def log_failure(logger: logging.Logger, what: str, error: Exception) -> None:
    """``what`` could not be done and is tried again: a line for an outage, all there is to know for anything else."""
    if is_outage(error):
        logger.warning("could not %s, tries again: %s", what, _line(error))
    else:
        logger.error("could not %s, tries again", what, exc_info=error)


@contextlib.contextmanager
def isolated(logger: logging.Logger, what: str) -> Iterator[None]:
    """One thing that can't be handled does not keep the others waiting; an outage concerns them all."""
    try:
        yield
    except Exception as error:
        if is_outage(error):
            raise
        log_failure(logger, what, error)


def _line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return " ".join(f"{type(cause).__name__}: {cause}".split())
