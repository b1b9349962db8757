"""Shows a run while it is at work, and what Ctrl-C does meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from rich.console import Console

from app.cli.process import Interrupts
from app.client.connection import Connection
from app.client.following import RunFollower
from app.client.live_table import draw_live
from app.client.plain_lines import PlainLines
from app.client.progress import RunProgress
from app.client.report import RunReport, print_failures, print_report, read_report
from app.client.runs import cancel_run, read_run
from app.domain.vocabulary import RunStatus

PLAIN_WIDTH = 120


def new_console(*, stderr: bool = False) -> Console:
    """Tables for terminals; for files and pipes plain lines of a width that does not depend on the caller."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=PLAIN_WIDTH)


async def show_run(connection: Connection, run_id: str, console: Console) -> RunReport:
    """Follow the run to its end; what is left on the screen is its report."""
    progress = RunProgress.of(await read_run(connection, run_id))
    if console.is_terminal:
        await _show_table(connection, progress, console)
    else:
        await RunFollower(connection, progress, PlainLines(console, progress).tell).follow()
    report = await read_report(connection, run_id)
    print_report(console, report)
    await print_failures(console, connection, report)
    return report


async def _show_table(connection: Connection, progress: RunProgress, console: Console) -> None:
    async with asyncio.TaskGroup() as tasks:
        drawing = tasks.create_task(draw_live(console, progress))
        await RunFollower(connection, progress, lambda event: None, details=True).follow()
        drawing.cancel()


@contextlib.asynccontextmanager
async def cancelled_by(
    interrupts: Interrupts, connection: Connection, run_id: str, console: Console
) -> AsyncIterator[None]:
    """Meanwhile the first Ctrl-C cancels the run; the block goes on until the run is over."""
    asked = asyncio.Event()

    async def cancel() -> None:
        await asked.wait()
        console.print("Cancelling the run; press Ctrl-C again to leave at once.")
        await cancel_run(connection, run_id)

    with interrupts.answered_by(asked.set):
        async with asyncio.TaskGroup() as tasks:
            cancelling = tasks.create_task(cancel())
            yield
            cancelling.cancel()


def exit_code(report: RunReport) -> int:
    return 0 if report.status is RunStatus.COMPLETED else 1
