"""For every N: the N-th statement, or the N-th write to a file, of one run fails, and the run ends as if nothing was.

MLP_SWEEP_STRIDE=1 takes every N; without it a sample is taken.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.database.engine import create_engine
from app.domain.vocabulary import FinishReason, RunStatus, StageStatus
from app.execution import drive, supervisor
from app.execution.executors import shims
from app.notifications.postgres import PostgresNotifier
from tests.attempt_harness import living_processes
from tests.execution import faulty_disk
from tests.execution.conftest import Engine, stage
from tests.execution.faulty_disk import OneFault
from tests.execution.faulty_network import FaultyNetwork

pytestmark = pytest.mark.timeout(1800)
STRIDE = int(os.environ.get("MLP_SWEEP_STRIDE", "67"))

SCRIPT = """
echo "$MLP_STAGE begins" >> {ledger}
cat "$MLP_INPUTS"/*/*.txt
echo '{{"name": "loss", "value": 0.5, "step": 1}}' >> "$MLP_METRICS"
echo "$MLP_STAGE" > "$MLP_OUTPUT_DIR/$MLP_STAGE.txt"
echo "$MLP_STAGE ends" >> {ledger}
"""

SHIM = """
import os, sys
sys.path.append({tests!r})
import faulty_disk
if not os.path.exists({struck!r}):
    fault = faulty_disk.OneFault(lambda: open({struck!r}, "x"))
    faulty_disk.install(fault, {error_number})
    fault.arm({number})
sys.path.pop()
__file__ = {shim!r}
exec(compile(open(__file__).read(), __file__, "exec"))
"""
"""A real shim, one of whose writes fails unless that has happened to an earlier one."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses before the next try are no part of what is tested here."""
    monkeypatch.setattr(drive, "STORE_POLL_SECONDS", 0.05)
    monkeypatch.setattr(drive, "RECONNECT_SECONDS", 0.05)
    monkeypatch.setattr(supervisor, "RECOVERY_SECONDS", 0.05)


async def sweep(has_struck: Callable[[int], Awaitable[bool]]) -> None:
    """Strikes at every N-th occasion of a run, one run each, until a run has fewer occasions."""
    number = 1
    while await has_struck(number):
        number += STRIDE
    assert number > 1, "nothing was ever struck"


async def run_two_stages(engine: Engine, ledger: Path, **config: object) -> uuid.UUID:
    """Starts a run of two stages; the second reads what the first wrote."""
    script = SCRIPT.format(ledger=ledger)
    run_id = await engine.start(stage("one", script, **config), stage("two", script, needs=["one"], **config))
    await engine.finished(run_id)
    return run_id


async def check_as_if_nothing_was(engine: Engine, run_id: uuid.UUID, ledger: Path) -> None:
    """Each stage was started once, and everything it left is there once."""
    run, stages = await engine.run(run_id), await engine.stages(run_id)
    assert run.status is RunStatus.COMPLETED, run.error_message
    assert ledger.read_text().split("\n")[:-1] == ["one begins", "one ends", "two begins", "two ends"]
    for name, row in stages.items():
        assert (row.attempt_number, row.lost_count) == (1, 0), name
        assert f"{name}.txt" in await engine.artifacts(row.id)
    assert await engine.log(stages["two"].id) == b"one\n"
    events = await engine.events(run_id)
    assert [event.seq for event in events] == list(range(1, run.last_event_seq + 1))
    moves = Counter((event.stage_run_id, event.kind, event.payload.get("name")) for event in events)
    assert set(moves.values()) == {1}


async def check_each(engine: Engine, fault: OneFault, folder: Path) -> None:
    """Sweeps through what a run does under a supervisor that works already."""

    async def has_struck(number: int) -> bool:
        ledger = folder / f"ledger-{number}"
        fault.arm(number)
        run_id = await run_two_stages(engine, ledger)
        happened = fault.has_happened()
        await check_as_if_nothing_was(engine, run_id, ledger)
        return happened

    await run_two_stages(engine, folder / "ledger")
    await sweep(has_struck)


@pytest.mark.parametrize("after", [False, True], ids=["before-it-arrives", "before-it-is-answered"])
async def test_the_loss_of_any_one_statement_changes_nothing(
    idle: Engine, database_url: str, tmp_path: Path, after: bool
) -> None:
    fault = OneFault()
    async with FaultyNetwork(database_url, fault, after=after) as network:
        database = create_engine(network.url)
        async with (
            PostgresNotifier(network.url) as notifier,
            Engine(database, notifier, idle.home).supervised(),
        ):
            await check_each(idle, fault, tmp_path)
        await database.dispose()


@pytest.mark.parametrize("error_number", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
async def test_any_one_write_of_the_server_that_fails_changes_nothing(
    idle: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error_number: int
) -> None:
    fault = OneFault()
    faulty_disk.install(fault, error_number, monkeypatch.setattr)
    async with idle.supervised():
        await check_each(idle, fault, tmp_path)


async def test_any_one_write_of_a_shim_that_fails_ends_in_the_truth(
    idle: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = shims.SHIM

    async def has_struck(number: int) -> bool:
        ledger, struck = tmp_path / f"ledger-{number}", tmp_path / f"struck-{number}"
        script = tmp_path / f"shim-{number}.py"
        script.write_text(
            SHIM.format(
                tests=str(Path(faulty_disk.__file__).parent),
                struck=str(struck),
                error_number=errno.ENOSPC,
                number=number,
                shim=str(shim),
            )
        )
        monkeypatch.setattr(shims, "SHIM", script)
        run_id = await run_two_stages(idle, ledger)
        await check_rows_match_the_ledger(idle, run_id, ledger)
        return struck.exists()

    async with idle.supervised():
        await sweep(has_struck)


async def check_rows_match_the_ledger(engine: Engine, run_id: uuid.UUID, ledger: Path) -> None:
    """A COMPLETED stage did end, one that began twice was reported as lost, and no process is left."""
    run, stages = await engine.run(run_id), await engine.stages(run_id)
    lines = Counter(ledger.read_text().split("\n")[:-1] if ledger.exists() else [])
    for name, row in stages.items():
        assert not living_processes(f"{row.id}.{row.attempt_number}")
        assert lines[f"{name} begins"] <= row.attempt_number == row.lost_count + 1
        if row.status is StageStatus.COMPLETED:
            assert lines[f"{name} ends"] >= 1
            assert f"{name}.txt" in await engine.artifacts(row.id)
    if run.status is not RunStatus.COMPLETED:
        ended = [row for row in stages.values() if row.status is StageStatus.FAILED]
        assert [row.finish_reason for row in ended] == [FinishReason.START_FAILED], run.error_message
