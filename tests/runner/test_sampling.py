"""What a stage used: seen while it runs, of all its processes, and not lost when it was short."""

from __future__ import annotations

import sys

from attempt_harness import Attempts

BUSY = "import time; end = time.process_time() + {seconds}\nwhile time.process_time() < end: pass"
MEGABYTE = 1_000_000


async def test_a_running_stage_is_sampled_early_and_with_all_its_processes(attempts: Attempts) -> None:
    holder = "import time; x = b'x' * 60_000_000; print('ready', flush=True); time.sleep(100)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {holder!r}])"
    attempt_id = await attempts.start(sys.executable, "-S", "-c", parent, sample_interval_seconds=0.1)
    await attempts.says(attempt_id, "ready")
    seen = len(await attempts.events(attempt_id, "sample"))
    while len(samples := await attempts.events(attempt_id, "sample")) < seen + 2:
        await attempts.says(attempt_id, "ready")
    result = await attempts.cancel(attempt_id)
    last = samples[-1].data
    assert last["processCount"] == 2
    assert last["memoryBytes"] > 60 * MEGABYTE
    assert last["logBytes"] == len(b"ready\n")
    assert last["readBytes"] >= 0
    assert result.peak_process_count == 2
    assert result.peak_memory_bytes >= last["memoryBytes"]


async def test_cpu_time_is_that_of_the_kernel_also_of_children_which_have_ended(attempts: Attempts) -> None:
    child = BUSY.format(seconds=0.3)
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {child!r}])\n{child}"
    attempt_id = await attempts.start(sys.executable, "-S", "-c", parent)
    result = await attempts.end(attempt_id)
    samples = await attempts.events(attempt_id, "sample")
    assert 0.6 <= result.cpu_seconds < 1.5
    assert result.peak_cpu_percent > 20
    used = [sample.data["cpuSeconds"] for sample in samples]
    assert used == sorted(used)


async def test_a_stage_too_short_to_be_sampled_has_one_sample_of_what_the_kernel_counted(
    attempts: Attempts,
) -> None:
    attempt_id = await attempts.start(
        sys.executable, "-S", "-I", "-c", "b'x' * 50_000_000", sample_interval_seconds=9
    )
    result = await attempts.end(attempt_id)
    samples = await attempts.events(attempt_id, "sample")
    assert len(samples) >= 1
    assert result.peak_memory_bytes > 50 * MEGABYTE
    assert 0 < result.cpu_seconds <= result.wall_seconds * 2
    assert result.peak_process_count == 1


async def test_a_small_stage_is_not_charged_with_the_memory_of_the_shim(attempts: Attempts) -> None:
    result = await attempts.run("sleep", "0.4")
    assert 0 < result.peak_memory_bytes < 5 * MEGABYTE


async def test_a_peak_between_two_samples_is_not_lost(attempts: Attempts) -> None:
    script = "import time; time.sleep(0.3); x = b'x' * 70_000_000; del x; time.sleep(0.1)"
    attempt_id = await attempts.start(sys.executable, "-S", "-c", script, sample_interval_seconds=100)
    result = await attempts.end(attempt_id)
    assert result.peak_memory_bytes > 70 * MEGABYTE
