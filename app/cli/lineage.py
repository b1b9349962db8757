"""``mlp lineage``: what a model was made from, as a tree."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.following import new_console
from app.cli.process import log_to_stderr, run_command
from app.cli.servers import Url, connection_to, local_address
from app.client.lineage import read_lineage, tree_of
from app.domain.lineage import MAX_DEPTH
from app.settings import Settings, load_settings


def lineage(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Global id or UUID of a model, dataset, artifact or stage run.",
            show_default=False,
        ),
    ],
    downstream: Annotated[
        bool, typer.Option("--downstream", help="Show what was made of it instead of what it was made from.")
    ] = False,
    depth: Annotated[
        int, typer.Option(min=0, max=MAX_DEPTH, help="How many stage runs away from it.")
    ] = MAX_DEPTH,
    url: Url = None,
) -> None:
    """Show what a model was made from.

    Exit codes: 0 shown, 2 no such model, 69 no server, 78 wrong settings.
    """
    settings = load_settings()
    log_to_stderr(settings, quiet=True)
    run_command(lambda interrupts: _show(settings, name, downstream, depth, url))


async def _show(settings: Settings, name: str, downstream: bool, depth: int, url: str | None) -> int:
    async with connection_to(url or local_address(settings), settings) as connection:
        new_console().print(tree_of(await read_lineage(connection, name, downstream=downstream, depth=depth)))
    return 0
