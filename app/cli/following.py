"""Shows the progress of a run, and cancels the run at Ctrl-C."""

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
    """A console for tables on a terminal, or for plain lines of a fixed width in a file or pipe."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=PLAIN_WIDTH)


async def show_run(connection: Connection, run_id: str, console: Console) -> RunReport:
    """Follow the run to its end, then print its report."""
    progress = RunProgress.of(await read_run(connection, run_id))
    if console.is_terminal:
        await _show_table(connection, progress, console)
    else:
        await RunFollower(connection, progress, PlainLines(console, progress).print_event).follow()
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
    """During the block the first Ctrl-C cancels the run; the block continues until the run has ended."""
    requested = asyncio.Event()

    async def cancel() -> None:
        await requested.wait()
        console.print("Cancelling the run; press Ctrl-C again to exit without waiting for its end.")
        await cancel_run(connection, run_id)

    with interrupts.answered_by(requested.set):
        async with asyncio.TaskGroup() as tasks:
            cancelling = tasks.create_task(cancel())
            yield
            cancelling.cancel()


def exit_code(report: RunReport) -> int:
    """0 for a COMPLETED run, 1 for any other."""
    return 0 if report.status is RunStatus.COMPLETED else 1
