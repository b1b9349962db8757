"""The commands by name. An expected failure is one line on stderr and an exit code, without a traceback."""

from __future__ import annotations

import importlib
import io
import sys
from dataclasses import dataclass
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from app.client.errors import ClientError
from app.errors import StartupError


@dataclass(frozen=True)
class _Command:
    """The function of a command, and the first sentence of its help."""

    module: str
    function: str
    summary: str

    def load(self, name: str) -> Any:
        program = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        program.command(name)(getattr(importlib.import_module(self.module), self.function))
        return typer.main.get_command(program)


COMMANDS = {
    "serve": _Command("app.cli.serving", "serve", "Serve the API and execute runs."),
    "work": _Command("app.cli.working", "work", "Execute runs without serving the API."),
    "demo": _Command("app.cli.demo", "demo", "Start a server and run an example on it."),
    "run": _Command("app.cli.running", "run", "Run the pipeline of a YAML file."),
    "watch": _Command("app.cli.watching", "watch", "Follow a run to its end."),
    "lineage": _Command("app.cli.lineage", "lineage", "Show what a model was made from."),
    "migrate": _Command("app.cli.migrating", "migrate", "Bring the database up to date."),
    "export-schema": _Command("app.cli.schema", "export_schema", "Write the GraphQL schema to a file."),
}


class _Commands(TyperGroup):
    """Imports a command when it is called: ``mlp run`` loads no server, ``mlp --help`` loads nothing.

    The types are ``Any`` because typer contains its own copy of click, without public names.
    """

    def list_commands(self, context: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: Any, name: str) -> Any:
        return COMMANDS[name].load(name) if name in COMMANDS else None

    def format_commands(self, context: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])


program = typer.Typer(
    cls=_Commands,
    name="mlp",
    epilog="Settings are environment variables; docs/settings.md lists them. `mlp COMMAND --help` explains a command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@program.callback()
def describe() -> None:
    """ML Pipeline Thing: runs ML pipelines as real processes and shows them as one live GraphQL graph."""


def main() -> None:
    """The entry point of ``mlp``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        program()
    except (StartupError, ClientError) as error:
        _leave(error)
    except BaseExceptionGroup as group:
        # Task groups wrap the errors of their tasks.
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
