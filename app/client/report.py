"""The report of a run, for people and as JSON: stages with their costs, models, artifacts."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.client import documents
from app.client.connection import Connection
from app.client.live_table import status_text
from app.client.progress import metrics_text, result_text
from app.client.wording import duration, megabytes, printable, size
from app.domain.units import BYTES_PER_MB
from app.domain.vocabulary import ArtifactType, RunStatus, StageStatus

Json = Mapping[str, Any]

_LOGS_SHOWN = 3
_LAST_LINES = '{ run(id: "RUN_ID") { stageRuns { name status end { lastLogLines } } } }'
_EXPLORE = """{
 run(id: "RUN_ID") {
  status executionTime pipeline { name }
  stageRuns {
   name status metrics dependencies { name }
   artifacts { nodes { name downloadUrl model { metrics trainingDataset { rowCount } } } }
  }
 }
}"""


@dataclass(frozen=True)
class RunReport:
    """A run and its artifacts: the answers to ``documents.RUN_REPORT`` and ``documents.RUN_ARTIFACTS``."""

    run_id: str
    url: str
    run: Json
    artifacts: list[Json]

    @property
    def status(self) -> RunStatus:
        return RunStatus(self.run["status"])

    def failed_stages(self) -> list[Json]:
        """The stages that failed without ``allowFailure``."""
        stages = self.run["stageRuns"]
        return [
            stage for stage in stages if stage["status"] == StageStatus.FAILED and not stage["allowFailure"]
        ]

    def as_json(self) -> str:
        """The report as one line of JSON."""
        return json.dumps({"runId": self.run_id, "url": self.url, **self.run, "artifacts": self.artifacts})


async def read_report(connection: Connection, run_id: str) -> RunReport:
    """Read the run with all pages of its artifacts."""
    run = (await connection.execute(documents.RUN_REPORT, id=run_id))["run"]
    artifacts: list[Json] = []
    after = None
    while True:
        page = (await connection.execute(documents.RUN_ARTIFACTS, id=run_id, after=after))["run"]["artifacts"]
        artifacts += page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            return RunReport(run_id, connection.url, run, artifacts)
        after = page["pageInfo"]["endCursor"]


def print_report(console: Console, report: RunReport) -> None:
    """Print the tables of stages, models and artifacts."""
    console.print()
    console.print(_stages(report))
    console.print()
    if models := [artifact for artifact in report.artifacts if artifact["model"]]:
        console.print(_models(models))
        console.print()
    if report.artifacts:
        console.print(_artifact_types(report))
        console.print()


def print_links(console: Console, report: RunReport) -> None:
    """Print the addresses of plots and HTML pages, one per line."""
    for artifact in report.artifacts:
        is_page = artifact["relativePath"].endswith(".html")
        if (is_page or artifact["artifactType"] == ArtifactType.PLOT) and artifact["downloadUrl"]:
            name = printable(f"{artifact['stageRun']['name']}/{artifact['relativePath']}")
            console.print(Text(f"  {name:<42}  {report.url}{artifact['downloadUrl']}"), soft_wrap=True)


def explorer_url(report: RunReport) -> str:
    """The address of GraphiQL with a query about the run."""
    query = _EXPLORE.replace("RUN_ID", report.run_id)
    return f"{report.url}/graphql#query={quote_plus(query, safe='$:,')}"


async def print_failures(console: Console, connection: Connection, report: RunReport) -> None:
    """Print the last log lines of the first few failed stages."""
    shown = 0
    for index, stage in enumerate(failed := report.failed_stages()):
        if shown == _LOGS_SHOWN:
            _print_query_for_logs(console, report, len(failed) - index)
            return
        data = await connection.execute(documents.LOG_END, id=stage["id"], lastBytes=-2000)
        if lines := data["stageRun"]["log"]["text"].rstrip().splitlines()[-15:]:
            shown += 1
            console.print(Text(f"The last lines of {printable(stage['name'])}:", style="bold"))
            for line in lines:
                console.print(Text(f"  {printable(line)}"), soft_wrap=True)


def _print_query_for_logs(console: Console, report: RunReport, more: int) -> None:
    stages = "stage" if more == 1 else "stages"
    query = _LAST_LINES.replace("RUN_ID", report.run_id)
    console.print(
        f"{more} more {stages} failed. To see their logs, run this query at {report.url}/graphql:",
        markup=False,
    )
    console.print(f"  {query}", markup=False, soft_wrap=True)


def _stages(report: RunReport) -> Table:
    table = _table(["stage", "status"], ["time", "cpu", "peak memory"], ["result"])
    for stage in report.run["stageRuns"]:
        attempts = stage["attempts"]
        cpu = sum(attempt["cpuSeconds"] or 0.0 for attempt in attempts)
        peak = max((attempt["peakMemoryBytes"] or 0 for attempt in attempts), default=0)
        table.add_row(
            Text(printable(stage["name"])),
            status_text(StageStatus(stage["status"])),
            duration(stage["executionTime"]),
            duration(cpu) if attempts else "",
            megabytes(peak / BYTES_PER_MB) if attempts else "",
            Text(printable(stage["errorMessage"] or result_text(stage))),
        )
    table.add_section()
    reason = Text(printable(report.run["errorMessage"] or ""))
    table.add_row("total", status_text(report.status), duration(report.run["executionTime"]), "", "", reason)
    return table


def _models(models: list[Json]) -> Table:
    table = _table(["model", "made by", "algorithm", "framework"], wrapped=["metrics"])
    for artifact in models:
        model = artifact["model"]
        cells = (artifact["name"], artifact["stageRun"]["name"], model["algorithm"], model["framework"])
        table.add_row(
            *(Text(printable(cell)) for cell in cells), Text(printable(metrics_text(model["metrics"])))
        )
    return table


def _artifact_types(report: RunReport) -> Table:
    sizes: dict[str, list[int]] = defaultdict(list)
    for artifact in report.artifacts:
        sizes[artifact["artifactType"]].append(artifact["fileSize"] or 0)
    table = _table(["artifacts"], ["number", "size"])
    for artifact_type in sorted(sizes):
        table.add_row(artifact_type, str(len(sizes[artifact_type])), size(sum(sizes[artifact_type])))
    table.add_section()
    table.add_row("total", str(len(report.artifacts)), size(sum(map(sum, sizes.values()))))
    return table


def _table(left: Sequence[str], right: Sequence[str] = (), wrapped: Sequence[str] = ()) -> Table:
    """A table: columns aligned left, then right, then those that share the remaining width."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, no_wrap=True, justify="right")
    for name in wrapped:
        table.add_column(name)
    return table
