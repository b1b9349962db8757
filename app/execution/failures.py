"""How loops that go on whatever happens tell of what went wrong."""

from __future__ import annotations

import logging

from app.database.outages import is_outage


def log_failure(logger: logging.Logger, what: str, error: Exception) -> None:
    """``what`` could not be done and is tried again: a line for an outage, all there is to know for anything else."""
    if is_outage(error):
        logger.warning("could not %s, tries again: %s", what, _line(error))
    else:
        logger.error("could not %s, tries again", what, exc_info=error)


def _line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return " ".join(f"{type(cause).__name__}: {cause}".split())
