"""Progress for terminals: a table that is redrawn in place, one line per stage."""

from __future__ import annotations

import asyncio
import datetime as dt

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from app.client.progress import RunProgress, StageProgress
from app.client.wording import duration, megabytes, printable
from app.domain.vocabulary import RunStatus, StageStatus

REFRESH_SECONDS = 0.25
_LINES_AROUND = 6
_DEEPEST_INDENT = 10

_LOOKS = {
    StageStatus.PENDING: ("·", "dim"),
    StageStatus.RUNNING: ("▶", "cyan"),
    StageStatus.COMPLETED: ("✔", "green"),
    StageStatus.FAILED: ("✘", "bold red"),
    StageStatus.CANCELLED: ("■", "yellow"),
    StageStatus.SKIPPED: ("-", "dim"),
}
_URGENCY = [StageStatus.RUNNING, StageStatus.FAILED, StageStatus.PENDING]


async def draw_live(console: Console, progress: RunProgress) -> None:
    """Draw until cancelled, then erase the table."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(progress_table(progress, console.height), refresh=True)
            await asyncio.sleep(REFRESH_SECONDS)


def progress_table(progress: RunProgress, height: int) -> RenderableType:
    """A line per stage; if the screen has too few lines, running and failed stages come first."""
    now = dt.datetime.now(dt.UTC)
    stages = _most_urgent(list(progress.stages.values()), max(1, height - _LINES_AROUND))
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, min_width=11)
    for width in (7, 9, 7):
        table.add_column(justify="right", no_wrap=True, min_width=width)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for stage in stages:
        table.add_row(*_row(stage, now))
    hidden = len(progress.stages) - len(stages)
    more = [Text(f"  and {hidden} more stages", style="dim")] if hidden else []
    return Group(_title(progress, now), table, *more)


def status_text(status: RunStatus | StageStatus) -> Text:
    """A status with its symbol, in its colour."""
    glyph, style = _LOOKS[StageStatus(status)]
    return Text(f"{glyph} {status.value}", style=style)


def _title(progress: RunProgress, now: dt.datetime) -> Text:
    status = progress.status
    seconds = progress.seconds
    if status is RunStatus.RUNNING and progress.started_at is not None:
        seconds = max(0.0, (now - progress.started_at).total_seconds())
    done = progress.count(StageStatus.COMPLETED)
    cancelling = " (cancelling)" if progress.cancel_requested and not progress.is_final else ""
    return Text.assemble(
        (printable(progress.pipeline_name), "bold"),
        "  ",
        status_text(status),
        f"{cancelling}  {done} of {len(progress.stages)} stages  {duration(seconds)}",
    )


def _row(stage: StageProgress, now: dt.datetime) -> tuple[Text, ...]:
    indent = " " * min(stage.depth, _DEEPEST_INDENT)
    attempt = f" #{stage.attempt}" if stage.attempt > 1 else ""
    cpu = "" if stage.cpu_percent is None else f"{stage.cpu_percent:.0f} % CPU"
    return (
        Text(f" {indent}{printable(stage.name, 40)}{attempt}"),
        status_text(stage.status),
        Text(duration(stage.seconds_at(now))),
        Text(cpu, style="dim"),
        Text(megabytes(stage.memory_mb), style="dim"),
        Text(printable(stage.note), style="dim"),
    )


def _most_urgent(stages: list[StageProgress], limit: int) -> list[StageProgress]:
    """The ``limit`` most urgent stages, in their order."""
    if len(stages) <= limit:
        return stages
    ranks = {status: rank for rank, status in enumerate(_URGENCY)}
    most_urgent = sorted(stages, key=lambda stage: ranks.get(stage.status, len(ranks)))[:limit]
    chosen = {stage.id for stage in most_urgent}
    return [stage for stage in stages if stage.id in chosen]
