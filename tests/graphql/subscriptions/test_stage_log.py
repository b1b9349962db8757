"""``stageLog``: the text of a log as it grows, through the retries of its stage."""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid
from pathlib import Path
from typing import Any

import pytest
from graph_client import Graph
from live_run import LiveRun

from app.domain.vocabulary import Phase, StageStatus
from app.notifications.postgres import PostgresNotifier

LOG = """subscription ($id: ID!, $after: BigInt, $attempt: Int) {
    stageLog(stageRunId: $id, afterOffset: $after, attempt: $attempt) { attempt offset nextOffset text final } }"""

RESUMED = """subscription ($id: ID!, $after: String, $offset: BigInt, $attempt: Int) {
    stageLog(stageRunId: $id, after: $after, afterOffset: $offset, attempt: $attempt) { cursor attempt text final } }"""


class LogFile:
    """The log of one attempt, as the runner writes it."""

    def __init__(self, attempts: Path, run: LiveRun, attempt: int = 1) -> None:
        self.path = attempts / f"{run.stage_run_id}.{attempt}" / "output.log"
        self.path.parent.mkdir(parents=True)
        self.path.touch()

    def write(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)


@pytest.fixture
def attempts(tmp_path: Path) -> Path:
    return tmp_path / "attempts"


def joined(pieces: list[dict[str, Any]]) -> str:
    """The text of pieces that must follow each other without a gap."""
    for piece, following in itertools.pairwise(pieces):
        assert following["offset"] == piece["nextOffset"]
    return "".join(piece["text"] for piece in pieces)


async def test_a_log_is_followed_while_it_grows_and_ends_with_the_stage_run(
    graph: Graph, run: LiveRun, notifier: PostgresNotifier, attempts: Path
) -> None:
    log = LogFile(attempts, run)
    async with graph.subscribe(LOG, id=str(run.stage_run_id)) as subscriber:
        waiting = asyncio.create_task(subscriber.next())
        log.write(b"one\n")
        notifier.publish_local(f"log:{run.stage_run_id}")
        piece = await waiting
        assert piece == {"attempt": 1, "offset": 0, "nextOffset": 4, "text": "one\n", "final": False}
        log.write(b"two\n")
        notifier.publish_local(f"log:{run.stage_run_id}")
        assert (await subscriber.next())["text"] == "two\n"
        log.write(b"three")
        await run.finish_stage_run()
        notifier.publish(f"run:{run.run_id}")
        rest = await subscriber.rest()
        assert joined(rest) == "three"
        assert [piece["final"] for piece in rest] == [*[False] * (len(rest) - 1), True]


async def test_growth_is_noticed_without_a_notification(graph: Graph, run: LiveRun, attempts: Path) -> None:
    log = LogFile(attempts, run)
    async with graph.subscribe(LOG, id=str(run.stage_run_id)) as subscriber:
        waiting = asyncio.create_task(subscriber.next())
        await asyncio.sleep(0.1)
        log.write(b"printed by a worker on this host")
        assert (await waiting)["text"] == "printed by a worker on this host"


async def test_no_character_is_cut_in_two_however_the_bytes_arrive(
    graph: Graph, run: LiveRun, notifier: PostgresNotifier, attempts: Path
) -> None:
    log = LogFile(attempts, run)
    text = "é漢🙂 plain \N{COMBINING ACUTE ACCENT}" * 40
    data, chance = text.encode(), random.Random(7)

    async def write() -> None:
        start = 0
        while start < len(data):
            end = start + chance.randint(1, 7)
            log.write(data[start:end])
            notifier.publish_local(f"log:{run.stage_run_id}")
            await asyncio.sleep(0)
            start = end
        await run.finish_stage_run()
        notifier.publish(f"run:{run.run_id}")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        reading = tasks.create_task(graph.messages(LOG, id=str(run.stage_run_id)))
    pieces = reading.result()
    assert joined(pieces) == text
    assert pieces[-1]["nextOffset"] == len(data)


async def test_half_a_character_at_the_end_is_delivered_only_when_nothing_follows(
    graph: Graph, run: LiveRun, notifier: PostgresNotifier, attempts: Path
) -> None:
    log = LogFile(attempts, run)
    log.write(b"ok \xf0\x9f")
    async with graph.subscribe(LOG, id=str(run.stage_run_id)) as subscriber:
        assert await subscriber.next() == {
            "attempt": 1, "offset": 0, "nextOffset": 3, "text": "ok ", "final": False
        }  # fmt: skip
        waiting = asyncio.create_task(subscriber.next())
        await run.finish_stage_run()
        notifier.publish(f"run:{run.run_id}")
        assert await waiting == {"attempt": 1, "offset": 3, "nextOffset": 5, "text": "�", "final": True}


async def test_bytes_that_are_no_text_are_replaced(graph: Graph, run: LiveRun, attempts: Path) -> None:
    LogFile(attempts, run).write(b"a\xff\0z")
    await run.finish_stage_run()
    (piece,) = await graph.messages(LOG, id=str(run.stage_run_id))
    assert (piece["text"], piece["nextOffset"]) == ("a��z", 4)


async def test_a_long_log_comes_in_pieces(graph: Graph, run: LiveRun, attempts: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    LogFile(attempts, run).write(text.encode())
    await run.finish_stage_run()
    pieces = await graph.messages(LOG, id=str(run.stage_run_id))
    assert joined(pieces) == text
    assert max(len(piece["text"]) for piece in pieces) <= 64 * 1024


async def test_reading_resumes_at_an_offset(graph: Graph, run: LiveRun, attempts: Path) -> None:
    LogFile(attempts, run).write(b"one\ntwo\n")
    await run.finish_stage_run()
    for after, text in ((4, "two\n"), (-4, "two\n"), (8, ""), (99, "")):
        (piece,) = await graph.messages(LOG, id=str(run.stage_run_id), after=after)
        assert (piece["text"], piece["nextOffset"], piece["final"]) == (text, 8, True)


async def test_a_retry_begins_at_offset_0_of_the_next_attempt(
    graph: Graph, run: LiveRun, notifier: PostgresNotifier, attempts: Path
) -> None:
    LogFile(attempts, run, attempt=1).write(b"failed")
    async with graph.subscribe(LOG, id=str(run.stage_run_id)) as subscriber:
        assert (await subscriber.next())["text"] == "failed"
        waiting = asyncio.create_task(subscriber.next())
        await run.update_stage_run(phase=Phase.READY, status=StageStatus.PENDING)
        notifier.publish(f"run:{run.run_id}")
        assert await waiting == {"attempt": 1, "offset": 6, "nextOffset": 6, "text": "", "final": True}
        waiting = asyncio.create_task(subscriber.next())
        LogFile(attempts, run, attempt=2).write(b"better")
        await run.update_stage_run(phase=Phase.FINAL, status=StageStatus.COMPLETED, attempt_number=2)
        notifier.publish(f"run:{run.run_id}")
        assert await waiting == {"attempt": 2, "offset": 0, "nextOffset": 6, "text": "better", "final": True}
        assert await subscriber.rest() == []


async def test_an_earlier_attempt_is_delivered_before_later_ones(
    graph: Graph, run: LiveRun, attempts: Path
) -> None:
    for attempt, text in ((1, b"first"), (2, b"second")):
        LogFile(attempts, run, attempt).write(text)
    await run.update_stage_run(phase=Phase.FINAL, status=StageStatus.COMPLETED, attempt_number=2)
    pieces = await graph.messages(LOG, id=str(run.stage_run_id), after=2, attempt=1)
    assert [(piece["attempt"], piece["text"]) for piece in pieces] == [(1, "rst"), (2, "second")]
    (latest,) = await graph.messages(LOG, id=str(run.stage_run_id))
    assert latest["text"] == "second"


async def test_the_stream_waits_for_a_stage_run_that_has_not_started(
    graph: Graph, run: LiveRun, notifier: PostgresNotifier, attempts: Path
) -> None:
    await run.update_stage_run(attempt_number=0, phase=Phase.READY, status=StageStatus.PENDING)
    async with graph.subscribe(LOG, id=str(run.stage_run_id)) as subscriber:
        waiting = asyncio.create_task(subscriber.next())
        await asyncio.sleep(0.1)
        LogFile(attempts, run).write(b"here")
        await run.update_stage_run(attempt_number=1, phase=Phase.CLAIMED)
        await run.update_stage_run(phase=Phase.RUNNING, status=StageStatus.RUNNING)
        notifier.publish(f"run:{run.run_id}")
        assert (await waiting)["text"] == "here"


async def test_a_skipped_stage_has_an_empty_log(graph: Graph, run: LiveRun) -> None:
    await run.update_stage_run(attempt_number=0, phase=Phase.FINAL, status=StageStatus.SKIPPED)
    assert await graph.messages(LOG, id=str(run.stage_run_id)) == [
        {"attempt": 0, "offset": 0, "nextOffset": 0, "text": "", "final": True}
    ]


async def test_a_stage_run_that_does_not_exist_is_a_typed_error(graph: Graph, run: LiveRun) -> None:
    error = await graph.error(LOG, id=str(uuid.uuid4()))
    assert (error["code"], error["argumentPath"]) == ("NOT_FOUND", ["stageRunId"])
    error = await graph.error(LOG, id=str(run.stage_run_id), attempt=2)
    assert (error["code"], error["argumentPath"]) == ("BAD_INPUT", ["attempt"])


async def test_reading_resumes_after_any_cursor_without_gap_or_repeat(
    graph: Graph, run: LiveRun, attempts: Path
) -> None:
    for attempt in (1, 2):
        LogFile(attempts, run, attempt).write(f"{attempt} \N{PENGUIN}\n".encode() * 20_000)
    await run.update_stage_run(phase=Phase.FINAL, status=StageStatus.COMPLETED, attempt_number=2)
    pieces = await graph.messages(RESUMED, id=str(run.stage_run_id), attempt=1)
    assert len(pieces) > 4
    for number, piece in enumerate(pieces, 1):
        # Where the log was first asked for is still among the variables of a client that resumes.
        begun = {"attempt": 1, "offset": 0}
        rest = await graph.messages(RESUMED, id=str(run.stage_run_id), after=piece["cursor"], **begun)
        assert rest == pieces[number:]


async def test_a_cursor_before_the_first_attempt_leads_to_the_first_attempt(
    graph: Graph, run: LiveRun, attempts: Path
) -> None:
    await run.update_stage_run(attempt_number=0, phase=Phase.READY, status=StageStatus.PENDING)
    query = "query ($id: ID!) { stageRun(id: $id) { log { cursor } } }"
    context = graph.contexts()
    result = await graph.schema.execute(query, {"id": str(run.stage_run_id)}, context_value=context)
    assert result.data is not None
    cursor = result.data["stageRun"]["log"]["cursor"]
    for attempt in (1, 2):
        LogFile(attempts, run, attempt).write(b"%d" % attempt)
    await run.update_stage_run(phase=Phase.FINAL, status=StageStatus.COMPLETED, attempt_number=2)
    pieces = await graph.messages(RESUMED, id=str(run.stage_run_id), after=cursor)
    assert [piece["text"] for piece in pieces] == ["1", "2"]


async def test_a_cursor_of_another_list_is_refused(graph: Graph, run: LiveRun) -> None:
    for cursor in ("2:0", "x", ""):
        error = await graph.error(RESUMED, id=str(run.stage_run_id), after=cursor)
        assert (error["code"], error["argumentPath"]) == ("BAD_INPUT", ["after"])
