"""``mlp serve``: the server, until a signal stops it."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable
from typing import Annotated

import anyio
import typer

from app.cli.process import Interrupts, log_to_stderr, run_command
from app.main import running_server
from app.settings import Settings, load_settings

_OPEN_FILES = 16_384

Host = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Address to listen on. Default: HOST.", show_default=False),
]
Port = Annotated[
    int | None,
    typer.Option(
        metavar="PORT", help="Port to listen on; 0 picks a free one. Default: PORT.", show_default=False
    ),
]


def serve(
    host: Host = None,
    port: Port = None,
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="Serve the API only; `mlp work` executes stages.")
    ] = False,
) -> None:
    """Serve the API and execute runs.

    Prints one line with its address as soon as it answers. SIGTERM or Ctrl-C stops it, a second one at once. Stages
    that are running when it stops continue, and the next start adopts them.

    Exit codes: 0 stopped by a signal, 1 stopped by an error, 78 wrong settings.
    """
    overrides = {"host": host, "port": port, "worker": False if no_worker else None}
    settings = load_settings(**{name: value for name, value in overrides.items() if value is not None})
    log_to_stderr(settings)
    allow_many_sockets()
    run_command(lambda interrupts: _serve(settings, interrupts))


async def _serve(settings: Settings, interrupts: Interrupts) -> int:
    stop = asyncio.Event()
    try:
        async with running_server(settings, worker=settings.worker) as server:
            with interrupts.answered_by(stop.set):
                typer.echo(f"ML Pipeline Thing is ready: {server.graphql_url}")
                await until_any(stop.wait, server.wait_stopped)
    except asyncio.CancelledError:  # stopped before it was ready
        return 0
    return 0 if stop.is_set() else 1


def allow_many_sockets() -> None:
    """Raise the limit of open files: each client needs one, and the usual limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def until_any(*waits: Callable[[], Awaitable[object]]) -> None:
    """Return when the first of them returns."""
    async with anyio.create_task_group() as tasks:

        async def wait_for(wait: Callable[[], Awaitable[object]]) -> None:
            await wait()
            tasks.cancel_scope.cancel()

        for wait in waits:
            tasks.start_soon(wait_for, wait)
