"""The commands by name, and what an expected failure looks like: one line, an exit code, no traceback."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from app.cli import demonstration, running, serving, upkeep
from app.client.errors import ClientError
from app.errors import StartupError

program = typer.Typer(
    name="mlp",
    help="ML Pipeline Thing: runs ML pipelines as real processes and shows everything about them as one live graph.",
    epilog="Settings come from the environment; the README lists them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    serving.serve,
    serving.work,
    demonstration.demo,
    running.run,
    running.watch,
    upkeep.migrate,
    upkeep.export_schema,
):
    program.command()(command)


def main() -> None:
    """The entry point of ``mlp``."""
    try:
        program()
    except (StartupError, ClientError) as error:
        _leave(error)
    except BaseExceptionGroup as group:
        # Task groups wrap what went wrong in them.
        expected, unexpected = group.split((StartupError, ClientError))
        if expected is None or unexpected is not None:
            raise
        _leave(_first(expected))


def _leave(error: BaseException) -> NoReturn:
    for line in str(error).splitlines():
        typer.echo(f"mlp: {line}", err=True)
    sys.exit(error.exit_code if isinstance(error, StartupError | ClientError) else 1)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
