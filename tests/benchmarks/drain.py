"""How fast queued runs drain, and the overhead of a stage over a bare spawn of the same command.

    python -m tests.benchmarks.drain [--runs 1000] [--slots 4] [--singles 40]

A worker with a PostgreSQL of its own drains runs of three stages, each ``true``. Meanwhile the rows are polled without
a pause, to check that no limit is ever exceeded. The bare spawns are measured in the same process, before and after,
with the same parallelism.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil

from tests.benchmarks.worker import Bench, bench, show, stage

COMMAND = "true"
CONCURRENT_RUNS = 5
SPAWNS = 400
STAGES = (stage("a", COMMAND), stage("b", COMMAND, needs=("a",)), stage("c", COMMAND, needs=("b",)))
COUNTS = """
SELECT (SELECT count(*) FROM pipeline_runs WHERE status IN ('PENDING', 'RUNNING')) AS open,
       (SELECT count(*) FROM pipeline_runs WHERE status = 'RUNNING') AS running,
       (SELECT count(*) FROM stage_runs WHERE phase IN ('claimed', 'running', 'collecting')) AS active
"""
OUTCOMES = """
SELECT count(*) FILTER (WHERE status = 'COMPLETED') AS completed, count(*) AS runs,
       (SELECT count(*) FROM run_events) AS events, (SELECT count(*) FROM stage_attempts) AS attempts
FROM pipeline_runs
"""


@dataclass
class Drain:
    """The observations until every run was final."""

    seconds: float = 0.0
    looks: int = 0
    most_running: int = 0
    most_active: int = 0


async def main(runs: int, slots: int, singles: int) -> None:
    async with bench() as on:
        bare = [spawn_seconds(slots)]
        began = time.perf_counter()
        await on.queue(*STAGES, runs=runs)
        queued = runs / (time.perf_counter() - began)
        with on.worker(MAX_CONCURRENT_PIPELINES=CONCURRENT_RUNS, MLP_MAX_CONCURRENT_STAGES=slots) as worker:
            seen = await drained(on)
            cpu = cpu_seconds(worker)
            outcome = await on.one(OUTCOMES)
            bare.append(spawn_seconds(slots))
            single = await single_seconds(on, singles)
            alone = spawn_seconds(1)
    assert outcome.completed == outcome.runs == runs, outcome
    assert outcome.attempts == 3 * runs, outcome
    assert seen.most_running <= CONCURRENT_RUNS, seen
    assert seen.most_active <= slots, seen
    per_stage, per_spawn = seen.seconds / (3 * runs), statistics.mean(bare)
    show("queued", f"{runs} runs of 3 stages, {queued:.0f} runs/s")
    show(
        "drained",
        f"{seen.seconds:.1f} s: {3 * runs / seen.seconds:.1f} stages/s, {outcome.events / seen.seconds:.0f} events/s",
    )
    show(
        "limits",
        f"runs {seen.most_running} of {CONCURRENT_RUNS}, stages {seen.most_active} of {slots} in {seen.looks} looks",
    )
    show("worker CPU", f"{1000 * cpu / (3 * runs):.1f} ms per stage, with its shims and stages")
    show(
        f"{slots} at a time",
        f"{1000 * per_stage:.1f} ms per stage, bare spawn {1000 * per_spawn:.2f} ms: x {per_stage / per_spawn:.1f}",
    )
    show(
        "one at a time",
        f"{1000 * single:.1f} ms from startRun to COMPLETED, bare spawn {1000 * alone:.2f} ms: x {single / alone:.1f}",
    )


async def drained(on: Bench) -> Drain:
    """Measured from the start of the worker's first run, so that the start of the worker does not count."""
    seen = Drain()
    began = None
    while True:
        counts = await on.one(COUNTS)
        seen.looks += 1
        seen.most_running = max(seen.most_running, counts.running)
        seen.most_active = max(seen.most_active, counts.active)
        if began is None and counts.running:
            began = time.perf_counter()
        if began is not None and not counts.open:
            seen.seconds = time.perf_counter() - began
            return seen
        await asyncio.sleep(0.05)


async def single_seconds(on: Bench, runs: int) -> float:
    """The median of runs of one stage, each queued after the end of the one before."""
    seconds = []
    for _ in range(runs):
        with on.notifier.listen("runs") as mailbox:
            began = time.perf_counter()
            await on.queue(stage("only", COMMAND))
            while (await on.one(COUNTS)).open:
                await mailbox.wait(1.0)
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def spawn_seconds(parallel: int) -> float:
    """Wall time per bare spawn of the command, at this parallelism."""
    began = time.perf_counter()
    with ThreadPoolExecutor(parallel) as pool:
        list(pool.map(lambda _: subprocess.run([COMMAND], check=True), range(SPAWNS)))
    return (time.perf_counter() - began) / SPAWNS


def cpu_seconds(process: psutil.Process) -> float:
    """Of a process and all children it has waited for."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--singles", type=int, default=40)
    options = parser.parse_args()
    asyncio.run(main(options.runs, options.slots, options.singles))
