"""The errors that clients may see: a stable code, a message that says what to do, and the path of the input field."""

from __future__ import annotations

import enum
from collections.abc import Sequence


class ErrorCode(enum.StrEnum):
    """The codes of expected errors. Clients branch on these, never on messages."""

    BAD_INPUT = "BAD_INPUT"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    INVALID_SPECIFICATION = "INVALID_SPECIFICATION"
    NOT_CANCELLABLE = "NOT_CANCELLABLE"
    NOT_RETRYABLE = "NOT_RETRYABLE"
    NOT_DELETABLE = "NOT_DELETABLE"
    PIPELINE_IN_USE = "PIPELINE_IN_USE"
    INSUFFICIENT_STORAGE = "INSUFFICIENT_STORAGE"
    UNAVAILABLE = "UNAVAILABLE"


class DomainError(Exception):
    """An expected failure.

    ``path``: the input field it concerns, outermost first (``["stages", "2", "config", "command"]``).
    """

    code = ErrorCode.BAD_INPUT

    def __init__(self, message: str, *, path: Sequence[str] = (), code: ErrorCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = tuple(path)
        if code is not None:
            self.code = code


class NotFound(DomainError):
    """The named thing does not exist."""

    code = ErrorCode.NOT_FOUND


class Conflict(DomainError):
    """The request contradicts what is stored."""

    code = ErrorCode.CONFLICT


class InvalidInput(DomainError):
    """An input with one or more problems, all reported together in ``problems``."""

    code = ErrorCode.INVALID_SPECIFICATION

    def __init__(self, problems: Sequence[DomainError]) -> None:
        super().__init__(
            "; ".join(problem.message for problem in problems),
            path=problems[0].path if problems else (),
            code=problems[0].code if problems else None,
        )
        self.problems = tuple(problems)


class StartupError(Exception):
    """The server can't start with this configuration: one line for the operator, exit code 78 (EX_CONFIG)."""

    exit_code = 78
