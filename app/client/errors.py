"""The expected errors of a client, each with the exit code of the command."""

from __future__ import annotations

from collections.abc import Sequence


class ClientError(Exception):
    """An expected failure: lines for stderr, without a traceback."""

    exit_code = 1

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines: Sequence[str] = lines


class Refused(ClientError):
    """A usage or validation error."""

    exit_code = 2


class Unreachable(ClientError):
    """No server answers, or it rejects the token (EX_UNAVAILABLE)."""

    exit_code = 69
