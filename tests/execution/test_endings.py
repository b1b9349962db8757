"""Death certificates of real processes: ``StageRun.end`` says what a person asks first, for every way to end."""

from __future__ import annotations

import os
import signal
import uuid
from typing import Any

import anyio
import psutil
import pytest

from app.domain.vocabulary import RunStatus, StageStatus
from app.errors import DomainError, ErrorCode
from app.execution.executors.sweep import MARKER
from app.graphql.context import Context
from app.graphql.schema import build_schema
from app.graphql.shared.context import ContextFactory
from app.graphql.shared.ids import global_id
from app.services.logs import LogReader
from app.services.runs import cancel_run
from app.services.streams import Streams
from app.services.system import SystemSampler
from app.storage.imports import Imports
from tests.execution.conftest import Engine, python, stage

END = """
    attempt finishReason summary exitCode signal { number name } outOfMemory { confidence hostKills cgroupKills }
    stop { reason actor cause at cameTooLate } stragglers { count names } lastLogLines
    peakMemoryBytes peakCpuPercent peakProcessCount cpuSeconds executionTime startedAt finishedAt hostId
    worker { hostName }
"""
ENDS = (
    """query($id: ID!) { run(id: $id) { status cancelActor explanation { cause summary }
  stageRuns { name status end {"""
    + END
    + "} attempts { attempt end {"
    + END
    + "} } explanation { summary } } } }"
)
WAITS = "import time; print('ready', flush=True); time.sleep(600)"


async def read_run(engine: Engine, run_id: uuid.UUID) -> dict[str, Any]:
    """The run with its stage runs by name."""
    logs = LogReader(engine.executors, engine.store, engine.database)
    streams = Streams(engine.database, engine.notifier, logs)
    imports = Imports(engine.store, engine.home.root / "imports", limit_bytes=1)
    contexts = ContextFactory(
        Context, engine.database, engine.notifier, logs, streams, SystemSampler(), imports
    )
    result = await build_schema().execute(
        ENDS, variable_values={"id": global_id("Run", run_id)}, context_value=contexts()
    )
    assert result.errors is None, result.errors
    assert result.data is not None
    run: dict[str, Any] = result.data["run"]
    return {**run, "stageRuns": {stage_run["name"]: stage_run for stage_run in run["stageRuns"]}}


async def end_of(engine: Engine, command: list[str], **config: Any) -> dict[str, Any]:
    """The end of the only stage of a run."""
    async with engine.supervised():
        run_id = await engine.start(stage("only", command, **config))
        await engine.finished(run_id)
    end: dict[str, Any] = (await read_run(engine, run_id))["stageRuns"]["only"]["end"]
    return end


def processes_of(attempt_id: str) -> list[psutil.Process]:
    marker = f"{MARKER}={attempt_id}".encode()
    found = []
    for process in psutil.process_iter():
        try:
            with open(f"/proc/{process.pid}/environ", "rb") as file:
                if marker in file.read().split(b"\0"):
                    found.append(process)
        except OSError:
            continue
    return found


async def test_a_success_reports_what_it_used_and_where_it_ran(idle: Engine) -> None:
    end = await end_of(idle, python("print('one'); print('two')"))
    assert (end["attempt"], end["finishReason"], end["exitCode"]) == (1, "EXITED", 0)
    assert end["summary"].startswith("The command exited with code 0, after ")
    assert end["lastLogLines"] == ["one", "two"]
    assert end["peakMemoryBytes"] > 1_000_000
    assert end["executionTime"] > 0
    assert end["startedAt"] < end["finishedAt"]
    assert end["worker"]["hostName"]
    nothing = ("signal", "outOfMemory", "stop", "stragglers")
    assert [end[name] for name in nothing] == [None] * 4


async def test_the_last_lines_are_the_last_twenty_and_no_more_than_four_kib(idle: Engine) -> None:
    end = await end_of(idle, python("print(*range(100), sep='\\n'); exit(3)"))
    assert end["lastLogLines"] == [str(number) for number in range(80, 100)]
    assert (end["exitCode"], end["summary"].partition(",")[0]) == (3, "The command exited with code 3")
    end = await end_of(idle, python("[print(str(n) * 3000) for n in range(3)]; exit(1)"))
    assert end["lastLogLines"][-1] == "2" * 3000
    assert sum(map(len, end["lastLogLines"])) <= 4096


async def test_a_crash_names_its_signal(idle: Engine) -> None:
    end = await end_of(idle, python("import os; os.kill(os.getpid(), 11)"))
    assert (end["finishReason"], end["signal"]) == ("SIGNALED", {"number": 11, "name": "SIGSEGV"})
    assert "SIGSEGV" in end["summary"]


async def test_an_end_by_the_memory_limit_is_certain_and_shows_the_peak(idle: Engine) -> None:
    greedy = "import time; held = b'x' * (200 << 20); time.sleep(60)"
    end = await end_of(idle, python(greedy), resources={"memoryMb": 64})
    assert end["finishReason"] == "OUT_OF_MEMORY"
    assert end["outOfMemory"]["confidence"] in ("CERTAIN", "POSSIBLE")
    assert (end["outOfMemory"]["confidence"] == "CERTAIN") is (end["outOfMemory"]["hostKills"] == 0)
    assert end["peakMemoryBytes"] > 64 << 20


async def test_what_a_stage_left_behind_is_counted_and_named(idle: Engine) -> None:
    end = await end_of(idle, ["sh", "-c", "setsid sleep 600 & setsid sleep 601 & sleep 0.2"])
    assert (end["finishReason"], end["stragglers"]) == ("EXITED", {"count": 2, "names": ["sleep", "sleep"]})
    assert end["summary"].endswith("2 processes that it left behind were ended.")


async def test_a_command_that_does_not_exist_never_started(idle: Engine) -> None:
    end = await end_of(idle, ["no-such-program"])
    assert (end["finishReason"], end["startedAt"], end["lastLogLines"]) == ("START_FAILED", None, [])
    assert "no-such-program" in end["summary"]


async def test_a_cancel_names_who_asked_and_why_to_what_ran_and_to_what_waited(idle: Engine) -> None:
    async with idle.supervised():
        run_id = await idle.start(stage("works", python(WAITS)), stage("waits", needs=["works"]))
        await idle.until(run_id, lambda stages: stages["works"].status is StageStatus.RUNNING)
        await cancel_run(idle.database, idle.notifier, run_id, "too slow", actor="ada")
        await idle.finished(run_id)
    run = await read_run(idle, run_id)
    assert (run["status"], run["cancelActor"]) == ("CANCELLED", "ada")
    works, waits = (run["stageRuns"][name]["end"] for name in ("works", "waits"))
    for end in (works, waits):
        assert end["finishReason"] == "CANCELLED"
        assert end["stop"].pop("at")
        assert end["stop"] == {
            "reason": "CANCELLED",
            "actor": "ada",
            "cause": "the run was cancelled by ada: too slow",
            "cameTooLate": False,
        }
        assert end["summary"].startswith("The run was cancelled by ada: too slow")
    assert (works["attempt"], waits["attempt"], waits["hostId"]) == (1, None, None)


async def test_each_attempt_has_an_end_of_its_own(idle: Engine) -> None:
    code = "import os; n = int(os.environ['MLP_ATTEMPT']); print('try', n); exit(3 - n)"
    async with idle.supervised():
        run_id = await idle.start(stage("flaky", python(code), retries={"limit": 2, "delay": 0.05}))
        await idle.finished(run_id)
    flaky = (await read_run(idle, run_id))["stageRuns"]["flaky"]
    ends = [attempt["end"] for attempt in flaky["attempts"]]
    assert [(end["attempt"], end["exitCode"], end["lastLogLines"]) for end in ends] == [
        (1, 2, ["try 1"]),
        (2, 1, ["try 2"]),
        (3, 0, ["try 3"]),
    ]
    assert flaky["end"] == ends[2]


async def test_what_did_not_end_has_no_end_and_what_was_skipped_names_the_reason(idle: Engine) -> None:
    run_id = await idle.start(stage("bad", python("exit(7)")), stage("below", needs=["bad"]))
    assert [row["end"] for row in (await read_run(idle, run_id))["stageRuns"].values()] == [None, None]
    async with idle.supervised():
        await idle.finished(run_id)
    below = (await read_run(idle, run_id))["stageRuns"]["below"]["end"]
    assert (below["finishReason"], below["attempt"], below["stop"]) == ("UPSTREAM_FAILED", None, None)
    assert below["summary"] == "Stage 'bad', which this one depends on, ended FAILED."


async def test_an_attempt_whose_runner_was_killed_keeps_its_last_words(idle: Engine) -> None:
    async with idle.supervised():
        run_id = await idle.start(stage("orphan", python(WAITS)))
        await idle.until(run_id, lambda stages: stages["orphan"].status is StageStatus.RUNNING)
        orphan = (await idle.stages(run_id))["orphan"]
        attempt_id = f"{orphan.id}.1"
        log = idle.home.attempts / attempt_id / "output.log"
        with anyio.fail_after(10):
            while not (log.exists() and b"ready" in log.read_bytes()):  # noqa: ASYNC110 (a file)
                await anyio.sleep(0.02)
        (main, *_) = processes_of(attempt_id)
        os.kill(main.ppid(), signal.SIGKILL)
        await idle.until(run_id, lambda stages: stages["orphan"].attempt_number == 2)
        await idle.cancel(run_id)
        await idle.finished(run_id)
    first, second = (row["end"] for row in (await read_run(idle, run_id))["stageRuns"]["orphan"]["attempts"])
    assert (first["finishReason"], first["lastLogLines"]) == ("LOST", ["ready"])
    assert (first["stop"], second["stop"]["reason"]) == (None, "CANCELLED")
    assert processes_of(attempt_id) == []


async def test_a_runner_killed_while_it_is_cancelled_leaves_nothing_and_the_stage_is_cancelled(
    idle: Engine,
) -> None:
    """CANCELLED is a promise about processes, so it is not made before the orphans were looked for and ended."""
    stubborn = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    )
    async with idle.supervised():
        run_id = await idle.start(stage("orphan", ["sh", "-c", f'{python("")[0]} -c "{stubborn}" & wait']))
        await idle.until(run_id, lambda stages: stages["orphan"].status is StageStatus.RUNNING)
        attempt_id = f"{(await idle.stages(run_id))['orphan'].id}.1"
        with anyio.fail_after(10):
            while len(processes_of(attempt_id)) < 2:  # noqa: ASYNC110 (other processes can't signal us)
                await anyio.sleep(0.02)
        shim = min(processes_of(attempt_id), key=lambda process: process.create_time()).parent()
        assert shim is not None
        shim.suspend()
        await idle.cancel(run_id)
        shim.kill()
        run = await idle.finished(run_id)
        assert processes_of(attempt_id) == []
    assert run.status is RunStatus.CANCELLED


async def test_a_cancel_that_comes_too_late_leaves_completed_and_says_so_everywhere(idle: Engine) -> None:
    async with idle.supervised():
        run_id = await idle.start(stage("quick", python("import time; time.sleep(0.5)")))
        await idle.until(run_id, lambda stages: stages["quick"].status is StageStatus.RUNNING)
    quick = (await idle.stages(run_id))["quick"]
    with anyio.fail_after(10):
        while not (idle.home.attempts / f"{quick.id}.1" / "result.json").exists():  # noqa: ASYNC110 (a file)
            await anyio.sleep(0.02)
    await idle.cancel(run_id)
    assert (await idle.run(run_id)).status is RunStatus.RUNNING
    async with idle.supervised():
        await idle.finished(run_id)

    run = await read_run(idle, run_id)
    assert (run["status"], run["stageRuns"]["quick"]["status"]) == ("COMPLETED", "COMPLETED")
    assert run["explanation"]["summary"].endswith("The cancel came too late to stop any of them.")
    quick_end = run["stageRuns"]["quick"]["end"]
    assert (quick_end["finishReason"], quick_end["stop"]["cameTooLate"]) == ("EXITED", True)
    assert quick_end["summary"].endswith("The request to stop it came too late.")
    assert "came too late" in run["stageRuns"]["quick"]["explanation"]["summary"]
    causes = {event.kind: event.payload["cause"] for event in await idle.events(run_id)}
    assert "came too late" in causes["STAGE_FINISHED"]
    assert "came too late" in causes["RUN_FINISHED"]
    with pytest.raises(DomainError, match="the cancel came too late") as refusal:
        await idle.cancel(run_id)
    assert refusal.value.code is ErrorCode.NOT_CANCELLABLE
