"""What every executor does. A new implementation joins the suite by a line in ``EXECUTORS``."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
from attempt_harness import Attempts, none_left

from app.database.reads.attempts import InputFile
from app.domain.specs import StageConfig
from app.domain.vocabulary import FinishReason
from app.execution.executors.base import AttemptOutputs, AttemptSpec, AttemptState, Executor, OutputLimits
from app.execution.executors.by_name import Executors, UnknownExecutor
from app.execution.executors.local import LocalExecutor
from app.runner.outputs import OutputRefused, RefusalReason
from app.services.logs import LogPart
from app.storage.local import LocalStore
from tests.stored_files import put, read

EXECUTORS: Mapping[str, Callable[[Path], Executor]] = {"LOCAL": LocalExecutor}
LIMITS = OutputLimits(total_bytes=1 << 20, files=10, depth=4)
PRINTS_FOREVER = ("sh", "-c", "echo ready; exec sleep 100")


@pytest.fixture(params=EXECUTORS)
def new_executor(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Executor]:
    """Each call is an executor of another server process with the same attempts."""
    return lambda: EXECUTORS[request.param](tmp_path / "attempts")


@pytest.fixture
async def attempts(new_executor: Callable[[], Executor], tmp_path: Path) -> AsyncIterator[Attempts]:
    attempts = Attempts(new_executor(), LocalStore(tmp_path / "store"))
    async with none_left(attempts):
        yield attempts


async def outputs_of(attempts: Attempts, script: str, limits: OutputLimits = LIMITS) -> AttemptOutputs:
    attempt_id = await attempts.start("bash", "-c", f"cd $MLP_OUTPUT_DIR; {script}")
    assert (await attempts.end(attempt_id)).exit_code == 0
    return await attempts.executor.outputs(attempt_id, limits)


async def test_an_attempt_is_new_then_runs_then_is_done_until_it_is_forgotten(attempts: Attempts) -> None:
    executor = attempts.executor
    spec = attempts.spec("sh", "-c", "echo ready; read line < $MLP_PARAMS; sleep 0.1; exit 3")
    assert await executor.state(spec.attempt_id) is AttemptState.NEW
    await executor.prepare(spec, attempts.store)
    assert await executor.state(spec.attempt_id) is AttemptState.NEW
    assert await executor.launch(spec) is AttemptState.RUNNING
    result = await attempts.end(spec.attempt_id)
    assert (result.finish_reason, result.exit_code, result.signal) == (FinishReason.EXITED, 3, None)
    assert await executor.state(spec.attempt_id) is AttemptState.DONE
    await executor.forget(spec.attempt_id)
    assert await executor.state(spec.attempt_id) is AttemptState.NEW
    await executor.forget(spec.attempt_id)


async def test_launching_a_running_attempt_again_changes_nothing(attempts: Attempts) -> None:
    spec = await attempts.prepare(*PRINTS_FOREVER)
    assert await attempts.executor.launch(spec) is AttemptState.RUNNING
    assert await attempts.executor.launch(spec) is AttemptState.RUNNING
    await attempts.says(spec.attempt_id, "ready")
    assert (await attempts.cancel(spec.attempt_id)).finish_reason is FinishReason.CANCELLED
    assert len(await attempts.events(spec.attempt_id, "started")) == 1


async def test_a_finished_attempt_is_not_started_again(attempts: Attempts) -> None:
    spec = await attempts.prepare("echo", "started")
    await attempts.executor.launch(spec)
    first = await attempts.end(spec.attempt_id)
    assert await attempts.executor.launch(spec) is AttemptState.DONE
    assert await attempts.executor.result(spec.attempt_id) == first
    assert await attempts.log(spec.attempt_id) == b"started\n"


async def test_another_server_sees_and_ends_the_attempt(
    attempts: Attempts, new_executor: Callable[[], Executor]
) -> None:
    attempt_id = await attempts.start(*PRINTS_FOREVER)
    await attempts.says(attempt_id, "ready")
    other = new_executor()
    assert await other.state(attempt_id) is AttemptState.RUNNING
    assert await other.leftovers() == [attempt_id]
    await other.cancel(attempt_id)
    assert await other.wait(attempt_id) is AttemptState.DONE
    assert (await other.result(attempt_id)).finish_reason is FinishReason.CANCELLED


async def test_a_cancel_before_the_launch_starts_nothing(attempts: Attempts) -> None:
    spec = await attempts.prepare("echo", "started")
    await attempts.executor.cancel(spec.attempt_id)
    await attempts.executor.launch(spec)
    assert (await attempts.end(spec.attempt_id)).finish_reason is FinishReason.CANCELLED
    assert await attempts.log(spec.attempt_id) == b""


async def test_the_ways_a_command_ends_are_distinguished(attempts: Attempts) -> None:
    killed = await attempts.run("sh", "-c", "kill -SEGV $$")
    assert (killed.finish_reason, killed.signal) == (FinishReason.SIGNALED, signal.SIGSEGV)
    late = await attempts.run("sleep", "100", timeout_seconds=0.2)
    assert late.finish_reason is FinishReason.TIMED_OUT
    # Not the PATH of the test: with a folder that its user may not read, the reason would be another one.
    missing = await attempts.run("no-such-command", env={"PATH": "/usr/bin:/bin"})
    assert missing.finish_reason is FinishReason.START_FAILED
    assert missing.error == "command 'no-such-command': No such file or directory"


async def test_there_is_no_result_before_the_end(attempts: Attempts) -> None:
    attempt_id = await attempts.start("sleep", "100")
    with pytest.raises(FileNotFoundError):
        await attempts.executor.result(attempt_id)
    await attempts.cancel(attempt_id)


async def test_waiting_returns_soon_after_the_end(attempts: Attempts) -> None:
    result = await attempts.end(await attempts.start("sleep", "0.3"))
    assert time.time() - result.finished_at < 0.5


async def test_a_running_attempt_is_not_forgotten(attempts: Attempts) -> None:
    attempt_id = await attempts.start("sleep", "100")
    with pytest.raises(ValueError, match="is running"):
        await attempts.executor.forget(attempt_id)
    assert (await attempts.cancel(attempt_id)).finish_reason is FinishReason.CANCELLED


async def test_a_sweep_spares_other_attempts(attempts: Attempts) -> None:
    attempt_id = await attempts.start(*PRINTS_FOREVER)
    assert await attempts.executor.sweep(f"{attempt_id}0") == 0
    assert await attempts.executor.state(attempt_id) is AttemptState.RUNNING
    await attempts.cancel(attempt_id)


@pytest.mark.parametrize("attempt_id", ["", "..", "../x", "a/b", "1.1", "X" * 36 + ".1", "0" * 36 + ".1"])
async def test_a_malformed_id_is_refused(
    new_executor: Callable[[], Executor], tmp_path: Path, attempt_id: str
) -> None:
    executor, store = new_executor(), LocalStore(tmp_path / "store")
    spec = AttemptSpec(attempt_id, StageConfig(("true",)), grace_seconds=1, log_limit_bytes=1000)
    for refused in (
        executor.prepare(spec, store),
        executor.launch(spec),
        executor.state(attempt_id),
        executor.wait(attempt_id),
        executor.journal(attempt_id, 0),
        executor.metrics(attempt_id, 0, 1),
        executor.read_log(attempt_id, 0, 1),
        executor.result(attempt_id),
        executor.outputs(attempt_id, LIMITS),
        executor.store_log(attempt_id, store),
        executor.cancel(attempt_id),
        executor.sweep(attempt_id),
        executor.forget(attempt_id),
    ):
        with pytest.raises(ValueError, match="not an attempt id"):
            await refused
    assert list(tmp_path.iterdir()) == []


async def test_the_stage_finds_its_parameters_and_private_copies_of_its_inputs(
    attempts: Attempts, tmp_path: Path
) -> None:
    blob = await put(attempts.store, tmp_path, b"island,mass\n")
    script = "cat $MLP_PARAMS $MLP_INPUTS/split/data/a.csv; echo changed > $MLP_INPUTS/split/data/new"
    spec = attempts.spec(
        "sh", "-c", script, params={"rate": 0.5}, inputs=[InputFile("split", "data/a.csv", blob.sha256)]
    )
    for _ in range(2):  # a crash may interrupt the first time
        await attempts.executor.prepare(spec, attempts.store)
    await attempts.executor.launch(spec)
    await attempts.end(spec.attempt_id)
    params, _, rest = (await attempts.log(spec.attempt_id)).partition(b"}")
    assert json.loads(params + b"}") == {"rate": 0.5}
    assert rest.startswith(b"island,mass\n")
    assert await read(attempts.store, blob.sha256) == b"island,mass\n"


async def test_the_log_is_read_from_any_offset_while_it_grows(attempts: Attempts) -> None:
    attempt_id = await attempts.start(*PRINTS_FOREVER)
    await attempts.says(attempt_id, "ready")
    read_log = attempts.executor.read_log
    assert await read_log(attempt_id, 0, 100) == LogPart(0, b"ready\n", 6)
    assert await read_log(attempt_id, 2, 3) == LogPart(2, b"ady", 6)
    assert await read_log(attempt_id, -2, 100) == LogPart(4, b"y\n", 6)
    assert await read_log(attempt_id, -100, 2) == LogPart(0, b"re", 6)
    assert await read_log(attempt_id, 50, 100) == LogPart(6, b"", 6)
    await attempts.cancel(attempt_id)
    assert await read_log(attempts.new_id(), 0, 100) is None


async def test_the_log_is_stored_unless_it_is_empty(attempts: Attempts) -> None:
    talks, silent = await attempts.start("echo", "hello"), await attempts.start("true")
    await attempts.end(talks)
    await attempts.end(silent)
    blob = await attempts.executor.store_log(talks, attempts.store)
    assert blob is not None
    assert await read(attempts.store, blob.sha256) == b"hello\n"
    assert await attempts.executor.store_log(silent, attempts.store) is None
    assert await attempts.executor.store_log(attempts.new_id(), attempts.store) is None


async def test_metrics_are_read_piece_by_piece(attempts: Attempts) -> None:
    attempt_id = await attempts.start("sh", "-c", "printf 0123456789 > $MLP_METRICS")
    await attempts.end(attempt_id)
    metrics = attempts.executor.metrics
    pieces = [await metrics(attempt_id, offset, 4) for offset in (0, 4, 8, 12)]
    assert pieces == [b"0123", b"4567", b"89", b""]
    assert await metrics(attempts.new_id(), 0, 4) == b""


async def test_the_journal_goes_on_where_the_last_read_ended(attempts: Attempts) -> None:
    attempt_id = await attempts.start(*PRINTS_FOREVER)
    await attempts.says(attempt_id, "ready")
    first, offset = await attempts.executor.journal(attempt_id, 0)
    await attempts.cancel(attempt_id)
    rest, end = await attempts.executor.journal(attempt_id, offset)
    assert [event.seq for event in [*first, *rest]] == list(range(1, len(first) + len(rest) + 1))
    assert await attempts.executor.journal(attempt_id, end) == ([], end)
    assert await attempts.executor.journal(attempts.new_id(), 0) == ([], 0)


async def test_outputs_are_listed_read_stored_and_inspected(attempts: Attempts) -> None:
    table, result = r"printf 'a,b\n1,2\n' > data/t.csv", """echo '{"x": 1}' > $MLP_RESULT"""
    outputs = await outputs_of(attempts, f"mkdir data; {table}; echo text > note; {result}")
    assert outputs.paths == ["data/t.csv", "note"]
    assert await outputs.read("note", 3) == b"tex"
    blob = await outputs.store("data/t.csv", attempts.store)
    assert await read(attempts.store, blob.sha256) == b"a,b\n1,2\n"
    [facts] = await outputs.inspect(["data/t.csv"])
    assert (facts.format, facts.row_count, facts.column_count, facts.error) == ("csv", 1, 2, None)
    assert await outputs.stage_result(100) == b'{"x": 1}\n'


async def test_an_attempt_without_outputs_has_none(attempts: Attempts) -> None:
    outputs = await outputs_of(attempts, "true")
    assert (outputs.paths, await outputs.stage_result(100)) == ([], None)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("ln -s /etc/passwd link", RefusalReason.NOT_A_FILE),
        ("mkfifo pipe", RefusalReason.NOT_A_FILE),
        ("for i in {1..11}; do echo > $i; done", RefusalReason.TOO_MANY_FILES),
        ("head -c 1048577 /dev/zero > large", RefusalReason.TOO_MANY_BYTES),
        ("mkdir -p a/b/c/d", RefusalReason.TOO_DEEP),
    ],
)
async def test_what_can_not_become_an_artifact_is_refused(
    attempts: Attempts, script: str, reason: RefusalReason
) -> None:
    with pytest.raises(OutputRefused) as refused:
        await outputs_of(attempts, script)
    assert refused.value.reason is reason


async def test_leftovers_are_listed_until_they_are_forgotten(attempts: Attempts) -> None:
    ids = [await attempts.start("true") for _ in range(2)]
    for attempt_id in ids:
        await attempts.end(attempt_id)
    assert sorted(await attempts.executor.leftovers()) == sorted(ids)
    assert await attempts.executor.leftovers(older_than_seconds=3600) == []
    await attempts.executor.forget(ids[0])
    assert await attempts.executor.leftovers() == [ids[1]]


async def test_executors_are_chosen_by_name_and_a_log_is_found_wherever_it_is(
    attempts: Attempts, tmp_path: Path
) -> None:
    attempt_id = await attempts.start("echo", "hello")
    await attempts.end(attempt_id)
    executors = Executors({"OTHER": LocalExecutor(tmp_path / "other"), "THIS": attempts.executor})
    assert executors["THIS"] is attempts.executor
    assert await executors.read_log(attempt_id, 0, 100) == LogPart(0, b"hello\n", 6)
    assert await executors.read_log(attempts.new_id(), 0, 100) is None
    with pytest.raises(UnknownExecutor, match=r"no executor 'SLURM'; it has OTHER, THIS$"):
        executors["SLURM"]
