"""Every stream resumes at the position of another execution, in whatever way that began."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from graph_client import PATIENCE_SECONDS, Graph
from live_run import LiveRun, let_time_pass
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.events import EventKind
from app.domain.vocabulary import Phase, StageStatus
from app.graphql.schema import Schema
from app.graphql.shared.positions import Position
from app.services import streams

NUMBERED = {
    "runEvents": "cursor events { seq }",
    "resourceSamples": "cursor samples { at }",
    "metricPoints": "cursor points { step }",
}


async def taken(
    graph: Graph, query: str, variables: dict[str, Any], position: Position, count: int
) -> list[Any]:
    """At most ``count`` messages after a position, which moves along."""
    stream = await graph.schema.subscribe(query, variables, graph.contexts(), root_value=position)
    messages: list[Any] = []
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(stream) as results:
        async for result in results:
            assert result.errors is None, result.errors
            messages.append(result.data)
            if len(messages) == count:
                break
    return messages


async def in_parts(graph: Graph, query: str, variables: dict[str, Any], count: int) -> list[Any]:
    """All messages, ``count`` at a time, each time after a copy of the last position."""
    messages: list[Any] = []
    cursor = None
    while True:
        position = Position(cursor)
        messages += (part := await taken(graph, query, variables, position, count))
        if len(part) < count:
            return messages
        cursor = position.cursor


@pytest.mark.parametrize("field", NUMBERED)
@pytest.mark.parametrize("after", [None, "2"])
async def test_numbered_rows(
    graph: Graph, run: LiveRun, monkeypatch: pytest.MonkeyPatch, field: str, after: str | None
) -> None:
    monkeypatch.setattr(streams, "BATCH_ROWS", 3)
    await run.record(*[EventKind.STAGE_READIED] * 20)
    await run.add_samples(20)
    await run.add_metrics(*range(20))
    await run.finish()
    query = f"subscription ($id: ID!, $after: String) {{ {field}(runId: $id, after: $after) {{ {NUMBERED[field]} }} }}"
    variables = {"id": str(run.run_id), "after": after}
    whole = await taken(graph, query, variables, Position(), 100)
    assert len(whole) > 5
    for count in (1, 2, 3):
        assert await in_parts(graph, query, variables, count) == whole


@pytest.mark.parametrize("start", [{}, {"from": 4, "attempt": 1}, {"from": -3}])
async def test_the_log_of_several_attempts(
    graph: Graph, run: LiveRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: dict[str, int]
) -> None:
    monkeypatch.setattr(streams, "LOG_CHUNK_BYTES", 4)
    for attempt, text in enumerate(("one two three", "", "four fünf"), start=1):
        path = tmp_path / "attempts" / f"{run.stage_run_id}.{attempt}" / "output.log"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    await run.update_stage_run(phase=Phase.FINAL, status=StageStatus.COMPLETED, attempt_number=3)
    query = """subscription ($id: ID!, $from: BigInt, $attempt: Int) {
        stageLog(stageRunId: $id, afterOffset: $from, attempt: $attempt) { attempt offset text final } }"""
    variables = {"id": str(run.stage_run_id), **start}
    whole = await taken(graph, query, variables, Position(), 100)
    assert "".join(message["stageLog"]["text"] for message in whole).endswith("nf")
    for count in (1, 2, 3):
        assert await in_parts(graph, query, variables, count) == whole


async def test_changed_runs(graph: Graph, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_RUNS_PER_BATCH", 2)
    query = "subscription { runsChanged { runs { notes } } }"
    runs = [await LiveRun.insert(engine) for _ in range(6)]
    await let_time_pass(engine)
    position = Position()
    for number, run in enumerate(runs):
        await run.update_run(notes=str(number))
    delivered = [await taken(graph, query, {}, position, 1)]
    for number in range(6, 8):
        await runs[0].update_run(notes=str(number))
        delivered.append(await taken(graph, query, {}, position, 1))
    while len(delivered) < 5 and delivered[-1][0]["runsChanged"]["runs"][-1]["notes"] != "7":
        delivered.append(await taken(graph, query, {}, position, 1))
    notes = [run["notes"] for [message] in delivered for run in message["runsChanged"]["runs"]]
    assert sorted(set(notes) - {"0", "6"}) == ["1", "2", "3", "4", "5", "7"]
    assert len(notes) == len(set(notes)), "no change is delivered twice"


async def test_every_subscription_moves_its_position(graph: Graph, schema: Schema, run: LiveRun) -> None:
    """Without that its subscribers could not share: here are all there are."""
    fields = set(schema._schema.subscription_type.fields)  # type: ignore[union-attr]
    assert fields == {*NUMBERED, "stageLog", "runsChanged", "systemSamples"}
    position = Position()
    await taken(graph, "subscription { systemSamples { at } }", {}, position, 1)
    assert position.cursor is not None
