"""Whole runs: what a user starts is executed by real processes and ends as the stages did."""

from __future__ import annotations

import signal

from app.domain.statuses import FinishReason, RunStatus, StageStatus
from tests.execution.conftest import Engine, python, stage


async def test_a_run_of_one_stage_completes_with_its_log_and_outputs(idle: Engine) -> None:
    code = "import os; print('hello'); open(os.environ['MLP_OUTPUT_DIR'] + '/note.txt', 'w').write('hi')"
    async with idle.supervised():
        run_id = await idle.start(stage("only", python(code)))
        run = await idle.finished(run_id)
    only = (await idle.stages(run_id))["only"]
    assert (run.status, run.success_count, run.failed_count) == (RunStatus.COMPLETED, 1, 0)
    assert (only.status, only.attempt_number, only.exit_code) == (StageStatus.COMPLETED, 1, 0)
    assert await idle.log(only.id) == b"hello\n"
    assert set(await idle.artifacts(only.id)) == {"note.txt", "output.log"}


async def test_a_stage_finds_the_outputs_of_its_dependencies_as_its_inputs(idle: Engine) -> None:
    write = python("import os; open(os.environ['MLP_OUTPUT_DIR'] + '/data.csv', 'w').write('a,b\\n1,2\\n')")
    read = python("import os; print(open(os.environ['MLP_INPUTS'] + '/write/data.csv').read(), end='')")
    async with idle.supervised():
        run_id = await idle.start(stage("write", write), stage("read", read, needs=["write"]))
        run = await idle.finished(run_id)
    stages = await idle.stages(run_id)
    assert run.status is RunStatus.COMPLETED, run.error_message
    assert await idle.log(stages["read"].id) == b"a,b\n1,2\n"


async def test_a_failed_stage_skips_what_depends_on_it_and_fails_the_run(idle: Engine) -> None:
    async with idle.supervised():
        run_id = await idle.start(stage("bad", python("exit(3)")), stage("after", needs=["bad"]))
        run = await idle.finished(run_id)
    stages = await idle.stages(run_id)
    assert (run.status, run.error_message) == (
        RunStatus.FAILED,
        "stage 'bad' failed: the command exited with code 3",
    )
    assert (stages["bad"].status, stages["bad"].exit_code) == (StageStatus.FAILED, 3)
    assert (stages["after"].status, stages["after"].finish_reason) == (
        StageStatus.SKIPPED,
        FinishReason.UPSTREAM_FAILED,
    )


async def test_a_segfault_is_reported_by_its_signal(idle: Engine) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    async with idle.supervised():
        run_id = await idle.start(stage("crash", python(code)))
        await idle.finished(run_id)
    crash = (await idle.stages(run_id))["crash"]
    assert (crash.finish_reason, crash.signal) == (FinishReason.SIGNALED, signal.SIGSEGV)
    assert crash.error_message == "the command was killed by SIGSEGV"
