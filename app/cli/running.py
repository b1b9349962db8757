"""``mlp run``: a pipeline from a file, followed to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from app.cli.following import cancelled_by, exit_code, new_console, show_run
from app.cli.process import Interrupts, log_to_stderr, run_command
from app.cli.servers import Url, connection_to, local_address, running_here
from app.client.connection import base_url
from app.client.errors import Refused
from app.client.parameters import run_config
from app.client.pipeline_file import PipelineFile, read_pipeline_file
from app.client.runs import RunRequest, register, start_run
from app.settings import Settings, load_settings


@dataclass(frozen=True)
class _Task:
    """The arguments of ``mlp run``."""

    file: PipelineFile
    request: RunRequest
    url: str | None
    detach: bool
    as_json: bool


def run(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="YAML file of a pipeline.", show_default=False)
    ],
    url: Url = None,
    param: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Parameter for all stages; repeatable.")
    ] = None,
    stage_param: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE.NAME=VALUE", help="Parameter for one stage; repeatable."),
    ] = None,
    environment: Annotated[
        str | None, typer.Option(metavar="NAME", help="Environment of the run, such as staging.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="TAG", help="Tag of the run; repeatable.")] = None,
    notes: Annotated[str | None, typer.Option(metavar="TEXT", help="Notes about the run.")] = None,
    no_cache: Annotated[
        bool,
        typer.Option("--no-cache", help="Execute every stage, even if an earlier result could be reused."),
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Start the run, print its id and exit; needs a running server.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as one line of JSON; progress goes to stderr.")
    ] = False,
) -> None:
    """Run the pipeline of a YAML file.

    The pipeline is created, or the newest one of the same name is updated. Then it is run, and the run is followed to
    its end. Relative working folders start at the folder of the file. If no server is running, one is started for the
    time of the run. Ctrl-C cancels the run and waits for its end; a second Ctrl-C exits at once.

    Exit codes: 0 COMPLETED, 1 FAILED or CANCELLED, 2 wrong usage or pipeline, 69 no server, 78 wrong settings.
    """
    settings = load_settings()
    pipeline = read_pipeline_file(file)
    config = run_config(param or [], stage_param or [], pipeline.stage_names)
    if no_cache:
        config["cache"] = False
    request = RunRequest(config, environment, tag or [], notes)
    task = _Task(pipeline, request, url, detach, as_json)
    log_to_stderr(settings, quiet=True)
    run_command(lambda interrupts: _run(settings, task, interrupts))


async def _run(settings: Settings, task: _Task, interrupts: Interrupts) -> int:
    console = new_console(stderr=task.as_json or task.detach)

    def note(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    if task.detach and task.url is None and await running_here(settings) is None:
        raise Refused(
            f"--detach needs a running server, and none answers at {local_address(settings)}: start `mlp serve`"
        )
    async with (
        _some_server(settings, task.url, note) as url,
        connection_to(url, settings) as connection,
    ):
        pipeline_id = await register(connection, task.file, note)
        run_id = await start_run(connection, pipeline_id, task.request)
        if task.detach:
            typer.echo(run_id)
            return 0
        console.print(f"Run {run_id} on {url}", soft_wrap=True)
        async with cancelled_by(interrupts, connection, run_id, console):
            report = await show_run(connection, run_id, console)
    if task.as_json:
        typer.echo(report.as_json())
    return exit_code(report)


@asynccontextmanager
async def _some_server(
    settings: Settings, url: str | None, note: Callable[[str], object]
) -> AsyncIterator[str]:
    """The address of a server. If none is running, one is started for the block."""
    if found := base_url(url) if url else await running_here(settings):
        yield found
        return
    note(f"No server answers at {local_address(settings)}; starting one for this run.")
    # Imported late: with a running server this command does not load one.
    from app.main import running_server

    own = settings.model_copy(update={"host": "127.0.0.1", "port": 0})
    async with running_server(own) as server:
        yield server.url
