"""Stopping a stage: whatever its processes do against it, none is left (the fixture looks), and the result says why."""

from __future__ import annotations

import signal
import sys

from attempt_harness import LocalAttempts

from app.domain.specs import Resources
from app.domain.vocabulary import FinishReason

DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(100)"


async def test_a_stage_that_obeys_sigterm_ends_at_once_when_cancelled(attempts: LocalAttempts) -> None:
    attempt_id = await attempts.start("sh", "-c", "echo ready; exec sleep 100", grace_seconds=60)
    await attempts.says(attempt_id, "ready")
    result = await attempts.cancel(attempt_id)
    assert (result.finish_reason, result.signal) == (FinishReason.CANCELLED, signal.SIGTERM)


async def test_a_cancelled_stage_may_still_choose_its_exit_code(attempts: LocalAttempts) -> None:
    script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    attempt_id = await attempts.start("bash", "-c", script)
    await attempts.says(attempt_id, "ready")
    result = await attempts.cancel(attempt_id)
    assert (result.finish_reason, result.exit_code, result.signal) == (FinishReason.CANCELLED, 7, None)


async def test_a_stage_that_ignores_sigterm_is_killed_after_the_grace(attempts: LocalAttempts) -> None:
    attempt_id = await attempts.start(sys.executable, "-c", DEAF, grace_seconds=0.5)
    await attempts.says(attempt_id, "ready")
    result = await attempts.cancel(attempt_id)
    assert (result.finish_reason, result.signal) == (FinishReason.CANCELLED, signal.SIGKILL)
    [stopping] = await attempts.events(attempt_id, "stopping")
    assert stopping.data == {"reason": "CANCELLED"}
    assert result.finished_at - stopping.at >= 0.49


async def test_a_stopped_stage_is_continued_so_that_it_hears_the_cancel(attempts: LocalAttempts) -> None:
    script = "trap 'exit 5' TERM; echo ready; kill -STOP $$; while :; do sleep 0.05; done"
    attempt_id = await attempts.start("bash", "-c", script, grace_seconds=60)
    await attempts.says(attempt_id, "ready")
    result = await attempts.cancel(attempt_id)
    assert (result.finish_reason, result.exit_code) == (FinishReason.CANCELLED, 5)


async def test_a_cancel_reaches_processes_that_left_the_session_and_ignore_it(
    attempts: LocalAttempts,
) -> None:
    script = (
        "(trap '' TERM; setsid sleep 100 & setsid setsid sleep 100 &) ;"
        "(setsid sh -c 'trap \"\" TERM; echo ready; sleep 100; sleep 100' &) ; sleep 100"
    )
    attempt_id = await attempts.start("bash", "-c", script, grace_seconds=0.3)
    await attempts.says(attempt_id, "ready")
    result = await attempts.cancel(attempt_id)
    assert result.finish_reason is FinishReason.CANCELLED
    assert result.stragglers_killed >= 3


async def test_a_straggler_gets_the_rest_of_the_grace_after_a_cancel(attempts: LocalAttempts) -> None:
    saving = "trap 'sleep 0.4; echo saved; exit' TERM; echo ready; while :; do sleep 0.05; done"
    attempt_id = await attempts.start("bash", "-c", f'bash -c "{saving}" & exec sleep 100', grace_seconds=60)
    await attempts.says(attempt_id, "ready")
    result = await attempts.cancel(attempt_id)
    assert result.signal == signal.SIGTERM
    assert b"saved" in attempts.output(attempt_id)


async def test_processes_that_fork_faster_than_they_are_found_are_all_killed(
    attempts: LocalAttempts,
) -> None:
    storm = "trap '' TERM; echo ready; for i in {1..1000}; do setsid sleep 100 & done; wait"
    attempt_id = await attempts.start("bash", "-c", storm, grace_seconds=0.1)
    await attempts.says(attempt_id, "ready")
    result = await attempts.cancel(attempt_id)
    assert (result.finish_reason, result.signal) == (FinishReason.CANCELLED, signal.SIGKILL)


async def test_a_cancel_asked_before_the_start_starts_nothing(attempts: LocalAttempts) -> None:
    spec = await attempts.prepare("sh", "-c", "echo started")
    await attempts.executor.cancel(spec.attempt_id)
    await attempts.executor.launch(spec)
    result = await attempts.end(spec.attempt_id)
    assert (result.finish_reason, result.exit_code) == (FinishReason.CANCELLED, None)
    assert [event.kind for event in await attempts.events(spec.attempt_id)] == ["finished"]
    assert attempts.output(spec.attempt_id) == b""
    assert not attempts.path(spec.attempt_id, "spec.json").exists()


async def test_a_cancel_is_found_also_when_no_signal_can_be_sent(attempts: LocalAttempts) -> None:
    attempt_id = await attempts.start("sh", "-c", "echo ready; exec sleep 100")
    await attempts.says(attempt_id, "ready")
    attempts.path(attempt_id, "cancel").touch()
    assert (await attempts.end(attempt_id)).finish_reason is FinishReason.CANCELLED


async def test_a_stage_that_takes_too_long_is_stopped(attempts: LocalAttempts) -> None:
    result = await attempts.run(sys.executable, "-c", DEAF, timeout_seconds=0.5, grace_seconds=0.3)
    assert (result.finish_reason, result.signal) == (FinishReason.TIMED_OUT, signal.SIGKILL)
    assert 0.8 <= result.wall_seconds < 3


async def test_a_stage_that_uses_too_much_memory_is_killed_without_grace(attempts: LocalAttempts) -> None:
    child = f"x = b'x' * 90_000_000; {DEAF}"
    parent = f"import signal, subprocess, sys; signal.signal(15, 1); subprocess.run([sys.executable, '-c', {child!r}])"
    result = await attempts.run(
        sys.executable, "-c", parent, resources=Resources(memory_mb=76), grace_seconds=60
    )
    assert (result.finish_reason, result.signal) == (FinishReason.OUT_OF_MEMORY, signal.SIGKILL)
    assert result.peak_memory_bytes > 80_000_000


async def test_a_daemon_that_holds_the_output_open_does_not_delay_the_result(
    attempts: LocalAttempts,
) -> None:
    attempt_id = await attempts.start("bash", "-c", "(setsid sleep 100 &); echo over; exit 3")
    result = await attempts.end(attempt_id)
    assert (result.finish_reason, result.exit_code, result.stragglers_killed) == (FinishReason.EXITED, 3, 1)
    assert result.wall_seconds < 2
    [stragglers] = await attempts.events(attempt_id, "stragglers")
    assert stragglers.data == {"count": 1, "names": ["sleep"]}


async def test_a_daemon_that_ignores_sigterm_is_killed_after_its_grace(attempts: LocalAttempts) -> None:
    script = "(trap '' TERM; setsid sleep 100 &); exit 0"
    result = await attempts.run("bash", "-c", script, straggler_grace_seconds=0.3)
    assert (result.finish_reason, result.exit_code, result.stragglers_killed) == (FinishReason.EXITED, 0, 1)


async def test_a_filter_that_ends_shortly_after_the_main_process_is_no_straggler(
    attempts: LocalAttempts,
) -> None:
    attempt_id = await attempts.start("bash", "-c", "exec > >(sleep 0.05; cat); echo late")
    result = await attempts.end(attempt_id)
    assert attempts.output(attempt_id) == b"late\n"
    assert result.stragglers_killed == 0
