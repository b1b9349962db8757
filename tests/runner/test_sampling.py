"""What a stage used: seen while it runs, of all its processes, and not lost when it was short."""

from __future__ import annotations

import sys
from typing import Any

from attempt_harness import LocalAttempts, eventually

from app.runner.journal import read_journal

BUSY = "import time; end = time.process_time() + {seconds}\nwhile time.process_time() < end: pass"
MEGABYTE = 1_000_000


def samples(attempts: LocalAttempts, attempt_id: str) -> list[dict[str, Any]]:
    events, _ = read_journal(attempts.path(attempt_id, "events.jsonl"), 0)
    return [event.data for event in events if event.kind == "sample"]


async def test_a_running_stage_is_sampled_with_all_its_processes(attempts: LocalAttempts) -> None:
    holder = "import time; x = b'x' * 60_000_000; print('ready', flush=True); time.sleep(100)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {holder!r}])"
    attempt_id = await attempts.start(sys.executable, "-S", "-c", parent, sample_interval_seconds=0.1)
    await eventually(
        lambda: any(sample["logBytes"] == len(b"ready\n") for sample in samples(attempts, attempt_id))
    )
    last = samples(attempts, attempt_id)[-1]
    result = await attempts.cancel(attempt_id)
    assert last["processCount"] == result.peak_process_count == 2
    assert 60 * MEGABYTE < last["memoryBytes"] <= result.peak_memory_bytes
    assert last["readBytes"] >= 0


async def test_samples_count_the_cpu_time_of_children_that_have_ended(attempts: LocalAttempts) -> None:
    child = BUSY.format(seconds=0.3)
    parent = f"import subprocess, sys, time; subprocess.run([sys.executable, '-S', '-c', {child!r}]); time.sleep(100)"
    attempt_id = await attempts.start(sys.executable, "-S", "-c", parent, sample_interval_seconds=0.1)
    await eventually(
        lambda: any(
            # The kernel counts whole ticks of 10 ms, of user and of system time.
            sample["processCount"] == 1 and sample["cpuSeconds"] >= 0.25
            for sample in samples(attempts, attempt_id)
        )
    )
    result = await attempts.cancel(attempt_id)
    used = [sample["cpuSeconds"] for sample in samples(attempts, attempt_id)]
    assert used == sorted(used)
    assert used[-1] <= result.cpu_seconds < 2
    assert result.peak_cpu_percent > 10


async def test_a_stage_too_short_to_be_sampled_has_one_sample_of_what_the_kernel_counted(
    attempts: LocalAttempts,
) -> None:
    attempt_id = await attempts.start(
        sys.executable, "-S", "-I", "-c", "b'x' * 50_000_000", sample_interval_seconds=9
    )
    result = await attempts.end(attempt_id)
    assert len(samples(attempts, attempt_id)) >= 1
    assert result.peak_memory_bytes > 50 * MEGABYTE
    assert 0 < result.cpu_seconds <= result.wall_seconds * 2
    assert result.peak_process_count == 1


async def test_a_small_stage_is_not_charged_with_the_memory_of_the_shim(attempts: LocalAttempts) -> None:
    result = await attempts.run("sleep", "0.4")
    assert 0 < result.peak_memory_bytes < 5 * MEGABYTE


async def test_a_peak_between_two_samples_is_not_lost(attempts: LocalAttempts) -> None:
    script = "import time; time.sleep(0.3); x = b'x' * 70_000_000; del x; time.sleep(0.1)"
    attempt_id = await attempts.start(sys.executable, "-S", "-c", script, sample_interval_seconds=100)
    result = await attempts.end(attempt_id)
    assert result.peak_memory_bytes > 70 * MEGABYTE
