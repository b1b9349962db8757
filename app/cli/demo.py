"""``mlp demo``: a server and a run of the example, by one command."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import app
from app.cli.following import cancelled_by, exit_code, new_console, show_run
from app.cli.process import Interrupts, log_to_stderr, run_command
from app.cli.servers import connection_to, running_here
from app.cli.serving import Port, until_any
from app.client.errors import Refused
from app.client.pipeline_file import PipelineFile, read_pipeline_file
from app.client.report import RunReport, explorer_url, print_links
from app.client.runs import RunRequest, register, start_run
from app.main import running_server
from app.settings import Settings, load_settings

DIGITS = Path(app.__file__).parent / "examples" / "digits" / "pipeline.yaml"


def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop when the run has ended.")] = False,
    port: Port = None,
) -> None:
    """Start a server and run an example on it.

    The example trains two models on handwritten digits. When the run has ended, the addresses of its results are
    printed, and the server keeps running until Ctrl-C. If a server is already running, it is used.

    Exit codes: 0 COMPLETED or stopped by a signal, 1 FAILED or CANCELLED, 2 scikit-learn is missing, 78 wrong settings.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise Refused("the demo needs scikit-learn: pip install 'ml-pipeline-thing[examples]'")
    settings = load_settings() if port is None else load_settings(port=port)
    log_to_stderr(settings, quiet=True)
    run_command(lambda interrupts: _demo(settings, once, interrupts))


async def _demo(settings: Settings, once: bool, interrupts: Interrupts) -> int:
    console = new_console()
    pipeline = read_pipeline_file(DIGITS)
    if found := await running_here(settings):
        console.print(f"Using the running server: {found}/graphql")
        report = await _run_pipeline(pipeline, found, settings, interrupts, console)
        _print_where_to_look(console, report)
        return exit_code(report)
    stop = asyncio.Event()
    async with running_server(settings) as server:
        console.print(f"ML Pipeline Thing is ready: {server.graphql_url}")
        report = await _run_pipeline(pipeline, server.url, settings, interrupts, console)
        if once or interrupts.received:
            console.print("The server stops now. To look at the run, start `mlp serve`.")
            return exit_code(report)
        _print_where_to_look(console, report)
        with interrupts.answered_by(stop.set):
            console.print("Serving until Ctrl-C.")
            await until_any(stop.wait, server.wait_stopped)
    return 0 if stop.is_set() else 1


async def _run_pipeline(
    pipeline: PipelineFile, url: str, settings: Settings, interrupts: Interrupts, console: Console
) -> RunReport:
    async with connection_to(url, settings) as connection:
        pipeline_id = await register(connection, pipeline)
        run_id = await start_run(connection, pipeline_id, RunRequest({}, tags=["demo"]))
        async with cancelled_by(interrupts, connection, run_id, console):
            return await show_run(connection, run_id, console)


def _print_where_to_look(console: Console, report: RunReport) -> None:
    console.print("Its results, as long as the server runs:")
    print_links(console, report)
    console.print("Explore its graph:")
    console.print(f"  {explorer_url(report)}", soft_wrap=True, markup=False)
