"""What can go wrong for a client, with the exit code a command ends with."""

from __future__ import annotations

from collections.abc import Sequence


class ClientError(Exception):
    """An expected failure, told in one line each and without a traceback."""

    exit_code = 1

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines: Sequence[str] = lines


class Refused(ClientError):
    """What was asked for makes no sense: a usage or validation error."""

    exit_code = 2


class Unreachable(ClientError):
    """No server answers, or it does not let us in (EX_UNAVAILABLE)."""

    exit_code = 69
