"""The cost of 100 stages that run at once: processor time and memory of their runners and guardians and of the worker.

    python -m tests.benchmarks.sampling [--stages 100] [--seconds 30]

Every stage sleeps, so that all processor time is the engine's own. The baselines are measured in the same run: the
worker while it is idle, and bare Python interpreters that sleep (``python -S -I``, as a runner is started).
Memory is PSS: a page that n processes share counts as 1/n of a page for each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from app.execution.executors.shims import SHIM
from tests.benchmarks.worker import bench, show, stage

RUNNING = "SELECT count(*) FROM stage_runs WHERE phase = 'running'"
OPEN = "SELECT count(*) FROM pipeline_runs WHERE completed_at IS NULL"
WORKERS = "SELECT count(*) FROM workers"
SAMPLES = "SELECT count(*) FROM resource_samples"
SETTLE_SECONDS = 3.0
SLEEP = "import time; time.sleep(3600)"


async def main(stages: int, seconds: float) -> None:
    settings = {"MLP_MAX_CONCURRENT_STAGES": stages, "MLP_GRACE_SECONDS": 0.5}
    async with bench() as on:
        with on.worker(**settings) as worker:
            await on.until(WORKERS, 1)
            await asyncio.sleep(SETTLE_SECONDS)
            idle = await cpu_share([worker], seconds / 2)
            await on.queue(*(stage(f"s{number}", "sleep", "3600") for number in range(stages)))
            await on.until(RUNNING, stages)
            await asyncio.sleep(SETTLE_SECONDS)
            shims = [process for process in worker.children(recursive=True) if is_shim(process)]
            before = (await on.one(SAMPLES))[0]
            both = asyncio.gather(cpu_share([worker], seconds), cpu_share(shims, seconds))
            busy, shims_busy = await both
            samples = (await on.one(SAMPLES))[0] - before
            worker_mb, shims_mb = pss_mb([worker]), pss_mb(shims)
            await on.cancel_all()
            await on.until(OPEN, 0)
        with interpreters(stages) as bare:
            await asyncio.sleep(SETTLE_SECONDS)
            bare_mb = pss_mb(bare)
    show("samples", f"{samples / seconds:.1f} per second of {stages} stages")
    show("worker CPU", f"{100 * busy:.1f} % of a core, idle {100 * idle:.2f} %")
    show("shims CPU", f"{100 * shims_busy:.1f} % of a core for {stages}: {len(shims)} processes")
    show(
        "shims PSS",
        f"{shims_mb / stages:.1f} MB each, bare interpreter {bare_mb / stages:.1f} MB: x {shims_mb / bare_mb:.2f}",
    )
    show("worker PSS", f"{worker_mb:.0f} MB")


def is_shim(process: psutil.Process) -> bool:
    """Whether the process is a runner or its guardian, not a stage."""
    return str(SHIM) in process.cmdline()


async def cpu_share(processes: list[psutil.Process], seconds: float) -> float:
    """Processor seconds per second."""
    before = sum(map(own_cpu_seconds, processes))
    await asyncio.sleep(seconds)
    return (sum(map(own_cpu_seconds, processes)) - before) / seconds


def own_cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def pss_mb(processes: list[psutil.Process]) -> float:
    lines = [Path(f"/proc/{process.pid}/smaps_rollup").read_text() for process in processes]
    kilobytes = [
        int(line.split()[1]) for text in lines for line in text.splitlines() if line.startswith("Pss:")
    ]
    return sum(kilobytes) / 1024


@contextlib.contextmanager
def interpreters(count: int) -> Iterator[list[psutil.Process]]:
    processes = [subprocess.Popen([sys.executable, "-S", "-I", "-c", SLEEP]) for _ in range(count)]
    try:
        yield [psutil.Process(process.pid) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stages", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    asyncio.run(main(options.stages, options.seconds))
