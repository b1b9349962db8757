"""``mlp export-schema``: the GraphQL schema as a file."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer

from app.client.errors import ClientError, Refused
from app.graphql.schema import printed_schema

_STDOUT = Path("-")
_HINT_LINES = 20


def export_schema(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="File to write; - writes to stdout.")] = Path(
        "schema.graphql"
    ),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if the file differs.")] = False,
) -> None:
    """Write the GraphQL schema to a file.

    Clients generate code from it.

    Exit codes: 0 written, or equal (--check), 1 the file differs, 2 it can't be read or written.
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


def _compare(path: Path, schema: str) -> None:
    if path == _STDOUT:
        raise Refused("--check needs a file, not -")
    found = path.read_text(encoding="utf-8")
    if found == schema:
        return
    names = (str(path), "the schema of this release")
    lines = list(difflib.unified_diff(found.splitlines(), schema.splitlines(), *names, n=1, lineterm=""))
    more = [f"... {len(lines) - _HINT_LINES} more lines"] if len(lines) > _HINT_LINES else []
    command = f"mlp export-schema {path}"
    raise ClientError(
        f"{path} is not the schema of this release; to write it: {command}", *lines[:_HINT_LINES], *more
    )
