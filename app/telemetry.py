"""Structured logs: one line per record with the request, run and stage run it belongs to, and no secrets in it."""

from __future__ import annotations

import contextlib
import contextvars
import datetime as dt
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, TextIO
from urllib.parse import quote

LogForm = Literal["console", "json"]

_CONTEXT = {
    name: contextvars.ContextVar[str | None](name, default=None)
    for name in ("request_id", "run_id", "stage_run_id")
}
_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
    *_CONTEXT,
}
_SHORTEST_SECRET = 4


def set_request_id(request_id: str) -> None:
    """Put the id on every later record of this task and of the tasks it starts."""
    _CONTEXT["request_id"].set(request_id)


@contextlib.contextmanager
def log_context(*, run_id: object = None, stage_run_id: object = None) -> Iterator[None]:
    """Put the ids given on every record made inside of the block."""
    given = {"run_id": run_id, "stage_run_id": stage_run_id}
    tokens = [
        (_CONTEXT[name], _CONTEXT[name].set(str(value))) for name, value in given.items() if value is not None
    ]
    try:
        yield
    finally:
        for variable, token in tokens:
            variable.reset(token)


def configure_logging(
    *,
    level: str = "INFO",
    form: LogForm = "console",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Send the records of all loggers to ``stream`` (stderr), in one form and without any of ``secrets``.

    Run uvicorn with ``log_config=None``, so that its loggers keep what is set here.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(add_context)
    handler.addFilter(drop_query_string)
    redact = redactor(secrets)
    handler.setFormatter(JsonFormatter(redact) if form == "json" else ConsoleFormatter(redact))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def redactor(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function which replaces the secrets, plain or as in a URL, by ``***``; very short ones would hide the text.

    So it does with rows PostgreSQL complains about: they hold the environments of commands.
    """
    wanted = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
    forms = sorted({*wanted, *(quote(secret, safe="") for secret in wanted)}, key=len, reverse=True)
    rows = r"(?<=Failing row contains \().*?(?=\)\.(?:\n|$))"
    pattern = re.compile("|".join([rows, *map(re.escape, forms)]), re.DOTALL)
    return lambda text: pattern.sub("***", text)


def add_context(record: logging.LogRecord) -> bool:
    """A filter which keeps every record and adds the ids of its context."""
    for name, variable in _CONTEXT.items():
        setattr(record, name, variable.get())
    return True


def drop_query_string(record: logging.LogRecord) -> bool:
    """A filter which keeps every record, but of the paths uvicorn logs only what is before the ``?``."""
    if record.name.startswith("uvicorn") and isinstance(record.args, tuple):
        record.args = tuple(
            arg.partition("?")[0] if isinstance(arg, str) and arg.startswith("/") else arg
            for arg in record.args
        )
    return True


class ConsoleFormatter(logging.Formatter):
    """For people: time, level, logger, message, then the ids."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        head = f"{_timestamp(record)} {record.levelname:<7} {record.name}: {record.getMessage()}"
        return self._redact("\n".join(filter(None, (f"{head} {fields}".rstrip(), _traceback(self, record)))))


class JsonFormatter(logging.Formatter):
    """For machines: one JSON object per line."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "timestamp": _timestamp(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if traceback := _traceback(self, record):
            entry["traceback"] = traceback
        # Before the encoding, which would escape a secret beyond recognition.
        return json.dumps({name: self._clean(value) for name, value in entry.items()}, ensure_ascii=False)

    def _clean(self, value: object) -> object:
        return value if isinstance(value, int | float | None) else self._redact(str(value))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The ids which are set, and whatever the caller gave as ``extra``."""
    ids = {name: getattr(record, name, None) for name in _CONTEXT}
    extra = {name: value for name, value in vars(record).items() if name not in _OWN_FIELDS}
    return {name: value for name, value in ids.items() if value is not None} | extra


def _timestamp(record: logging.LogRecord) -> str:
    at = dt.datetime.fromtimestamp(record.created, dt.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)
