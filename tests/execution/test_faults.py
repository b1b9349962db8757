"""Stages that end badly: each gets the right status, reason and a sentence a person understands."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import psutil
import pytest
import sqlalchemy as sa

from app.database.tables import pipeline_runs, stage_runs
from app.domain.retry import LOST_LIMIT
from app.domain.vocabulary import FinishReason, RunStatus, StageStatus
from app.errors import DomainError
from tests.execution.conftest import Engine, python, stage

STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        break
print("ready", flush=True)
time.sleep(600)
"""


def processes_of(attempt_marker: str) -> list[int]:
    """Processes of an attempt, whatever became of their parents and sessions."""
    marker = f"MLP_STAGE_RUN_ID={attempt_marker}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return [pid for pid in found if psutil.pid_exists(pid)]


async def until_running(engine: Engine, run_id: object, name: str) -> None:
    await engine.until(run_id, lambda stages: stages[name].status is StageStatus.RUNNING)  # type: ignore[arg-type]


async def test_a_cancel_leaves_no_process_of_a_stage_that_traps_forks_and_hides(idle: Engine) -> None:
    async with idle.supervised():
        run_id = await idle.start(stage("stubborn", python(STUBBORN)), stage("next", needs=["stubborn"]))
        await until_running(idle, run_id, "stubborn")
        stubborn = (await idle.stages(run_id))["stubborn"]
        with anyio.fail_after(10):
            while len(processes_of(str(stubborn.id))) < 4:  # noqa: ASYNC110 (other processes can't signal us)
                await anyio.sleep(0.02)
        await idle.cancel(run_id)
        run = await idle.finished(run_id)
    assert processes_of(str(stubborn.id)) == []
    stages = await idle.stages(run_id)
    assert (run.status, run.finish_reason) == (RunStatus.CANCELLED, FinishReason.CANCELLED)
    assert {row.status for row in stages.values()} == {StageStatus.CANCELLED}


async def test_a_run_cancelled_before_it_began_never_starts_a_process(idle: Engine) -> None:
    run_id = await idle.start(stage("never", python("open('/tmp/must-not-exist', 'w')")))
    await idle.cancel(run_id)
    run = await idle.run(run_id)
    assert (run.status, run.started_at) == (RunStatus.CANCELLED, None)
    assert (await idle.stages(run_id))["never"].attempt_number == 0


async def test_an_ended_run_refuses_a_cancel(idle: Engine) -> None:
    async with idle.supervised():
        run_id = await idle.start(stage("quick"))
        await idle.finished(run_id)
    with pytest.raises(DomainError, match="already ended"):
        await idle.cancel(run_id)


async def test_a_stage_over_its_time_limit_is_stopped_and_says_so(idle: Engine) -> None:
    async with idle.supervised():
        run_id = await idle.start(stage("slow", python("import time; time.sleep(60)"), timeout=0.5))
        run = await idle.finished(run_id)
    slow = (await idle.stages(run_id))["slow"]
    assert (run.status, slow.status, slow.finish_reason) == (
        RunStatus.FAILED,
        StageStatus.FAILED,
        FinishReason.TIMED_OUT,
    )
    assert slow.error_message == "the command was stopped: it ran longer than its time limit of 0.5 s"


async def test_a_command_that_does_not_exist_is_named(idle: Engine) -> None:
    async with idle.supervised():
        run_id = await idle.start(stage("absent", ["no-such-program"]))
        await idle.finished(run_id)
    absent = (await idle.stages(run_id))["absent"]
    assert absent.finish_reason is FinishReason.START_FAILED
    assert "no-such-program" in absent.error_message
    assert absent.started_at is None


async def test_a_run_over_its_time_limit_ends_all_its_stages(idle: Engine) -> None:
    slow = python("import time; time.sleep(60)")
    async with idle.supervised():
        run_id = await idle.start(
            stage("slow", slow), stage("after", needs=["slow"]), run_config={"timeout": 0.7}
        )
        run = await idle.finished(run_id)
    stages = await idle.stages(run_id)
    assert (run.status, run.finish_reason) == (RunStatus.FAILED, FinishReason.TIMED_OUT)
    assert stages["slow"].finish_reason is FinishReason.TIMED_OUT
    assert stages["after"].status in (StageStatus.CANCELLED, StageStatus.SKIPPED)


async def test_a_run_that_can_not_be_stopped_keeps_no_other_from_being_stopped_or_begun(idle: Engine) -> None:
    """Its row is damaged: the time limit is missing."""
    slow = stage("slow", python("import time; time.sleep(600)"))
    async with idle.supervised():
        damaged = await idle.start(slow)
        overdue = await idle.start(slow)
        for run_id in (damaged, overdue):
            await until_running(idle, run_id, "slow")
        for run_id, values in ((damaged, {"timeout_seconds": None}), (overdue, {})):
            async with idle.database.begin() as connection:
                past = {"deadline_at": sa.func.now() - timedelta(hours=1)}
                await connection.execute(
                    sa.update(pipeline_runs).where(pipeline_runs.c.id == run_id).values(**past, **values)
                )
        assert (await idle.finished(overdue)).finish_reason is FinishReason.TIMED_OUT
        assert (await idle.finished(await idle.start(stage("honest")))).status is RunStatus.COMPLETED
        await idle.cancel(damaged)
        await idle.finished(damaged)


async def test_a_stage_whose_specification_is_damaged_fails_and_keeps_no_other_from_being_claimed(
    idle: Engine,
) -> None:
    damaged = await idle.start(stage("a"))
    async with idle.database.begin() as connection:
        await connection.execute(sa.update(stage_runs).values(spec={}))
    honest = await idle.start(stage("a"))
    async with idle.supervised():
        assert (await idle.finished(honest)).status is RunStatus.COMPLETED
        assert (await idle.finished(damaged)).status is RunStatus.FAILED
    failed = (await idle.stages(damaged))["a"]
    assert failed.finish_reason is FinishReason.START_FAILED
    assert "error id" in failed.error_message


async def test_a_failing_stage_is_tried_again_until_it_succeeds(idle: Engine, tmp_path: Path) -> None:
    flag = tmp_path / "tried"
    code = f"import pathlib; f = pathlib.Path({str(flag)!r}); ok = f.exists(); f.touch(); exit(not ok)"
    async with idle.supervised():
        run_id = await idle.start(stage("flaky", python(code), retries={"limit": 2, "delay": 0.05}))
        run = await idle.finished(run_id)
    flaky = (await idle.stages(run_id))["flaky"]
    reasons = [(row.attempt, row.exit_code) for row in await idle.attempts(flaky.id)]
    assert (run.status, flaky.attempt_number, reasons) == (RunStatus.COMPLETED, 2, [(1, 1), (2, 0)])


async def test_fail_fast_stops_side_branches_and_continue_lets_them_finish(
    idle: Engine, tmp_path: Path
) -> None:
    over = tmp_path / "over"
    wait = f"import os, time\nwhile not os.path.exists({str(over)!r}): time.sleep(0.05)"
    branches = (stage("bad", python("exit(1)")), stage("side", python(wait)))
    async with idle.supervised():
        fast = await idle.start(*branches)
        patient = await idle.start(*branches, run_config={"failFast": False})
        assert (await idle.finished(fast)).status is RunStatus.FAILED
        over.touch()
        assert (await idle.finished(patient)).status is RunStatus.FAILED
    assert (await idle.stages(fast))["side"].status is StageStatus.CANCELLED
    assert (await idle.stages(patient))["side"].status is StageStatus.COMPLETED


async def test_an_allowed_failure_does_not_fail_the_run(idle: Engine) -> None:
    async with idle.supervised():
        run_id = await idle.start(
            stage("optional", python("exit(1)"), allowFailure=True), stage("after", needs=["optional"])
        )
        run = await idle.finished(run_id)
    stages = await idle.stages(run_id)
    assert (run.status, run.success_count, run.failed_count) == (RunStatus.COMPLETED, 1, 1)
    assert stages["after"].status is StageStatus.COMPLETED


async def test_a_symlink_among_the_outputs_is_refused_by_name(idle: Engine) -> None:
    code = "import os; os.symlink('/etc/passwd', os.environ['MLP_OUTPUT_DIR'] + '/leak')"
    async with idle.supervised():
        run_id = await idle.start(stage("sly", python(code)))
        await idle.finished(run_id)
    sly = (await idle.stages(run_id))["sly"]
    assert (sly.status, sly.finish_reason) == (StageStatus.FAILED, FinishReason.OUTPUT_REFUSED)
    assert "leak" in sly.error_message
    assert "leak" not in await idle.artifacts(sly.id)


async def test_a_stage_never_sees_the_environment_of_the_server(
    idle: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://canary:secret@nowhere/x")
    monkeypatch.setenv("MLP_API_TOKEN", "canary-token-canary-token-canary-token")
    async with idle.supervised():
        run_id = await idle.start(
            stage("look", python("import os; print(sorted(os.environ))"), env={"OWN": "1"})
        )
        await idle.finished(run_id)
    log = await idle.log((await idle.stages(run_id))["look"].id)
    assert b"'OWN'" in log
    assert b"DATABASE_URL" not in log
    assert b"MLP_API_TOKEN" not in log


async def test_a_stage_that_writes_nonsense_into_its_journal_harms_only_itself(idle: Engine) -> None:
    code = """
import os, pathlib, time
time.sleep(0.3)
journal = pathlib.Path(os.environ["MLP_METRICS"]).with_name("events.jsonl")
with journal.open("a") as file:
    for memory in ('"much"', "-1", "1e400", "null", "[]"):
        line = '{"seq": 99, "at": 1, "kind": "sample", "cpuPercent": 1, "memoryBytes": %s, "processCount": 1}'
        print(line % memory, file=file)
    print('{"seq": 5, "at": 1e300, "kind": "sample"}', file=file)
    print("not json", file=file)
"""
    async with idle.supervised():
        run_id = await idle.start(stage("vandal", python(code)))
        run = await idle.finished(run_id)
    assert run.status is RunStatus.COMPLETED, run.error_message


async def test_a_stage_that_keeps_its_cancel_from_being_written_down_harms_only_itself(idle: Engine) -> None:
    """Its runner hears of the cancel all the same, and the supervisor goes on with the others."""
    code = "import os, time; os.symlink('/no/such/folder', '../cancel'); print('ready', flush=True); time.sleep(600)"
    async with idle.supervised():
        run_id = await idle.start(stage("hostile", python(code)))
        await until_running(idle, run_id, "hostile")
        hostile = (await idle.stages(run_id))["hostile"]
        with anyio.fail_after(10):
            while not (idle.home.attempts / f"{hostile.id}.1" / "cancel").is_symlink():  # noqa: ASYNC110 (a stage)
                await anyio.sleep(0.02)
        await idle.cancel(run_id)
        other_id = await idle.start(stage("honest"))
        assert (await idle.finished(other_id)).status is RunStatus.COMPLETED
        assert (await idle.finished(run_id)).status is RunStatus.CANCELLED


async def test_a_stage_that_removes_its_own_folder_is_lost_and_never_runs_twice_at_once(
    idle: Engine, tmp_path: Path
) -> None:
    code = f"""
import os, shutil, time
with open({str(tmp_path / "ledger")!r}, "a") as ledger:
    print("begin", os.environ["MLP_ATTEMPT"], file=ledger, flush=True)
    shutil.rmtree(os.environ["MLP_OUTPUT_DIR"] + "/..")
    time.sleep(1)
    print("end", os.environ["MLP_ATTEMPT"], file=ledger, flush=True)
"""
    async with idle.supervised():
        run_id = await idle.start(stage("careless", python(code)))
        run = await idle.finished(run_id)
    assert (run.status, run.finish_reason) == (RunStatus.FAILED, FinishReason.LOST)
    begins = [line for line in (tmp_path / "ledger").read_text().splitlines() if line.startswith("begin")]
    assert begins == [f"begin {attempt}" for attempt in range(1, LOST_LIMIT + 2)]
    assert processes_of(str((await idle.stages(run_id))["careless"].id)) == []


@pytest.mark.parametrize("name", ["output.log", "events.jsonl", "metrics.jsonl", "cancel", "result.tmp"])
async def test_a_pipe_in_place_of_a_file_blocks_nothing(idle: Engine, name: str) -> None:
    """To open it for reading would block for ever."""
    async with idle.supervised():
        run_id = await idle.start(stage("pipes", f"rm -f ../{name}; mkfifo ../{name}; sleep 600"))
        await until_there(idle.home.attempts / f"{(await idle.stages(run_id))['pipes'].id}.1" / name)
        await idle.cancel(run_id)
        run = await idle.finished(run_id)
        assert run.status in (RunStatus.CANCELLED, RunStatus.FAILED)
        assert (await idle.finished(await idle.start(stage("honest")))).status is RunStatus.COMPLETED


async def until_there(pipe: Path) -> None:
    with anyio.fail_after(10):
        while not pipe.is_fifo():  # noqa: ASYNC110 (a file)
            await anyio.sleep(0.01)


async def test_a_link_in_place_of_the_log_is_not_followed(idle: Engine) -> None:
    run_id = await idle.start(stage("links", "ln -sf /etc/passwd ../output.log"))
    async with idle.supervised():
        assert (await idle.finished(run_id)).status is RunStatus.COMPLETED
    links = (await idle.stages(run_id))["links"]
    assert (links.logs, await idle.artifacts(links.id)) == (None, {})


async def test_a_stage_that_replaces_its_lock_is_lost_and_never_runs_twice_at_once(
    idle: Engine, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    command = f"echo $MLP_ATTEMPT >> {ledger}; rm ../lock; : > ../lock; sleep 600"
    async with idle.supervised():
        run_id = await idle.start(stage("replaces", command))
        run = await idle.finished(run_id)
    assert (run.status, run.finish_reason) == (RunStatus.FAILED, FinishReason.LOST)
    assert ledger.read_text().split() == [str(attempt) for attempt in range(1, LOST_LIMIT + 2)]
    assert processes_of(str((await idle.stages(run_id))["replaces"].id)) == []


async def test_a_folder_that_can_not_be_removed_keeps_no_slot(
    idle: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    one_slot = replace(idle, limits=replace(idle.limits, concurrent_stages=1))
    try:
        async with one_slot.supervised():
            run_id = await idle.start(stage("mounts", "mkdir m; mount -t tmpfs none m || exit 77"))
            await idle.finished(run_id)
            if (await idle.stages(run_id))["mounts"].exit_code == 77:
                pytest.skip("needs the right to mount a file system")
            assert (await idle.finished(await idle.start(stage("next")))).status is RunStatus.COMPLETED
        assert "the janitor tries again" in caplog.text
        assert "unexpected failure" not in caplog.text
    finally:
        for mounted in idle.home.attempts.glob("*/work/m"):
            await anyio.run_process(["umount", str(mounted)])
