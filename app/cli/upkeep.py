"""``mlp migrate`` and ``mlp export-schema``."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer

from app.cli.process import log_to_stderr, run_command
from app.client.errors import ClientError, Refused
from app.database import migrate as migrations
from app.graphql.schema import printed_schema
from app.main import database
from app.settings import Settings, load_settings

_STDOUT = Path("-")
_HINT_LINES = 20


def migrate() -> None:
    """Bring the database up to date.

    Every start of a server does this by itself; alone it serves releases which migrate before they roll out.

    Exit codes: 0 up to date, 78 wrong settings.
    """
    settings = load_settings()
    log_to_stderr(settings)
    run_command(lambda interrupts: _migrate(settings))


def export_schema(
    path: Annotated[Path, typer.Argument(help="File to write; - is the standard output.")] = Path(
        "schema.graphql"
    ),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; compare the file.")] = False,
) -> None:
    """Write the GraphQL schema to a file.

    Frontend apps generate their code from it.

    Exit codes: 0 written or equal, 1 the file differs (--check), 2 the file can't be read or written.
    """
    schema = printed_schema()
    try:
        if check:
            _compare(path, schema)
        elif path == _STDOUT:
            typer.echo(schema, nl=False)
        else:
            path.write_text(schema, encoding="utf-8")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None


async def _migrate(settings: Settings) -> int:
    async with database(settings) as (engine, _):
        before = await migrations.current_revision(engine)
        await migrations.upgrade(engine)
        after = await migrations.current_revision(engine)
    typer.echo(f"already at {after}" if before == after else f"migrated from {before or 'empty'} to {after}")
    return 0


def _compare(path: Path, schema: str) -> None:
    if path == _STDOUT:
        raise Refused("--check needs a file to compare")
    found = path.read_text(encoding="utf-8")
    if found == schema:
        return
    names = (str(path), "the schema of this release")
    lines = list(difflib.unified_diff(found.splitlines(), schema.splitlines(), *names, n=1, lineterm=""))
    more = [f"... {len(lines) - _HINT_LINES} more lines"] if len(lines) > _HINT_LINES else []
    command = f"mlp export-schema {path}"
    raise ClientError(
        f"{path} is not the schema of this release; write it by: {command}", *lines[:_HINT_LINES], *more
    )
