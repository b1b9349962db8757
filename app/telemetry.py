"""Structured logs: one line per record, with the ids of its request, run, stage run and attempt, without secrets."""

from __future__ import annotations

import contextlib
import contextvars
import datetime as dt
import json
import logging
import re
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, TextIO, TypeAlias
from urllib.parse import quote

LogForm = Literal["console", "json"]

_IDS = {
    name: contextvars.ContextVar[str | int | None](name, default=None)
    for name in ("request_id", "run_id", "stage_run_id", "attempt")
}
_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
    *_IDS,
}
_ERROR_ATTRIBUTE = "_log_ids"
_SHORTEST_SECRET = 4

Id: TypeAlias = uuid.UUID | str | int | None


def bind_log_ids(
    *, request_id: Id = None, run_id: Id = None, stage_run_id: Id = None, attempt: Id = None
) -> None:
    """Put the ids on every later record of this task and of the tasks it starts."""
    _bind(request_id=request_id, run_id=run_id, stage_run_id=stage_run_id, attempt=attempt)


@contextlib.contextmanager
def log_context(*, run_id: Id = None, stage_run_id: Id = None, attempt: Id = None) -> Iterator[None]:
    """Put the ids on every record made inside the block.

    An exception that leaves the block keeps them: see ``log_ids_of``.
    """
    ids, tokens = _bind(run_id=run_id, stage_run_id=stage_run_id, attempt=attempt)
    try:
        yield
    except Exception as error:
        setattr(error, _ERROR_ATTRIBUTE, ids | log_ids_of(error))
        raise
    finally:
        for variable, token in tokens:
            variable.reset(token)


def log_ids_of(error: BaseException) -> dict[str, Any]:
    """The ids of the log contexts that the exception has left, as arguments for ``log_context``."""
    ids: dict[str, Any] = getattr(error, _ERROR_ATTRIBUTE, {})
    return ids


def _bind(**ids: Id) -> tuple[dict[str, Any], list[tuple[contextvars.ContextVar[Any], Any]]]:
    given = {
        name: value if isinstance(value, int) else str(value)
        for name, value in ids.items()
        if value is not None
    }
    return given, [(_IDS[name], _IDS[name].set(value)) for name, value in given.items()]


def configure_logging(
    *,
    level: str = "INFO",
    form: LogForm = "console",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Write the records of all loggers to ``stream`` (default: stderr) in one form, with ``secrets`` masked.

    Run uvicorn with ``log_config=None``, so that its loggers keep this configuration.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(add_ids)
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
    """A function that replaces the secrets, plain or URL-encoded, by ``***``.

    It ignores secrets shorter than 4 characters, which would match in ordinary text. It also masks the rows that
    PostgreSQL quotes in its errors: they hold the environments of commands.
    """
    wanted = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
    forms = sorted({*wanted, *(quote(secret, safe="") for secret in wanted)}, key=len, reverse=True)
    rows = r"(?<=Failing row contains \().*?(?=\)\.(?:\n|$))"
    pattern = re.compile("|".join([rows, *map(re.escape, forms)]), re.DOTALL)
    return lambda text: pattern.sub("***", text)


def add_ids(record: logging.LogRecord) -> bool:
    """A filter that keeps every record and adds the ids of its context and of its exception."""
    error = record.exc_info[1] if record.exc_info else None
    ids = log_ids_of(error) if error is not None else {}
    for name, variable in _IDS.items():
        setattr(record, name, ids.get(name, variable.get()))
    return True


def drop_query_string(record: logging.LogRecord) -> bool:
    """A filter that keeps every record, and removes the query string from the paths that uvicorn logs."""
    if record.name.startswith("uvicorn") and isinstance(record.args, tuple):
        record.args = tuple(
            arg.partition("?")[0] if isinstance(arg, str) and arg.startswith("/") else arg
            for arg in record.args
        )
    return True


class ConsoleFormatter(logging.Formatter):
    """For people: time, level, logger, message, then the ids and extra fields."""

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
        # Mask before encoding: JSON escapes would hide a secret from the pattern.
        return json.dumps({name: self._clean(value) for name, value in entry.items()}, ensure_ascii=False)

    def _clean(self, value: object) -> object:
        return value if isinstance(value, int | float | None) else self._redact(str(value))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The ids that are set, then the fields given as ``extra``."""
    ids = {name: getattr(record, name, None) for name in _IDS}
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES}
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
