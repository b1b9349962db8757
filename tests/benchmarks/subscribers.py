"""How soon many subscribers of one run receive its events, and the cost for the server.

    python -m tests.benchmarks.subscribers [--subscribers 1000] [--seconds 60] [--rate 10] [--stalled 50]

A real `mlp serve --no-worker` on a PostgreSQL of its own. This process commits the events of a run and notifies the
server by NOTIFY, as a worker on another host would; the subscribers are a third process. The same subscribers then
listen to a server that only sends frames of the same size ("bare"): trust the ratio to it, not the milliseconds, which
depend on the machine. ``--stalled`` adds subscribers that stop reading.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from app.database import migrations
from app.database.engine import create_engine
from app.domain.events import EventKind
from app.graphql.shared.ids import global_id
from app.notifications.topics import run_topic
from app.postgres.server import EmbeddedPostgres
from tests.connected_notifier import connected_notifier
from tests.live_run import LiveRun

QUERY = """subscription ($runId: ID!) { runEvents(runId: $runId) {
    cursor events { seq at kind ... on StageProgress { stageStatus attempt stageRun { name } } } } }"""

AddEvent = Callable[[], Awaitable[float]]
"""Commits the next event and notifies the server; returns the time at which it was done."""


@dataclass(frozen=True)
class Load:
    """The load on the server."""

    subscribers: int
    seconds: float
    rate: float
    stalled: int


@dataclass(frozen=True)
class Outcome:
    """The result. Latencies in milliseconds; the CPU of the server in percent of one core."""

    seen: dict[str, Any]
    cpu_percent: float
    rss_mb: float
    cut_after_seconds: float | None
    close_codes: dict[str, int]
    stop_seconds: float


async def main(load: Load) -> None:
    ours = await measure_server(load)
    payload = max(ours.seen["frame_bytes"] - len('{"id":"1","type":"next","payload":}'), 0)
    show(load, ours, await measure_bare(load, payload))


async def measure_server(load: Load) -> Outcome:
    async with contextlib.AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mlp-benchmark-")))
        url = await stack.enter_async_context(EmbeddedPostgres(home))
        engine = create_engine(url)
        stack.push_async_callback(engine.dispose)
        await migrations.upgrade(engine)
        run = await LiveRun.insert(engine)
        await run.record(EventKind.RUN_STARTED)
        notifier = await stack.enter_async_context(connected_notifier(url))

        async def add_event() -> float:
            await run.record(EventKind.STAGE_STARTED, attempt=1)
            notifier.publish(run_topic(run.run_id))
            return asyncio.get_running_loop().time()

        command = [str(Path(sys.executable).with_name("mlp")), "serve", "--port", "0", "--no-worker"]
        settings = {"MLP_HOME": str(home), "DATABASE_URL": url}
        server = await stack.enter_async_context(process(command, settings))
        return await under_load(server, load, global_id("Run", run.run_id), add_event)


async def measure_bare(load: Load, payload_bytes: int) -> Outcome:
    async with process([sys.executable, "-m", "tests.benchmarks.bare_broadcast"]) as server:
        assert server.stdin is not None
        server.stdin.write(bare_payload(1, payload_bytes))
        seq = 1

        async def add_event() -> float:
            nonlocal seq
            seq += 1
            assert server.stdin is not None
            server.stdin.write(bare_payload(seq, payload_bytes))
            return asyncio.get_running_loop().time()

        return await under_load(server, load, "", add_event)


def bare_payload(seq: int, size_bytes: int) -> bytes:
    text = json.dumps({"data": {"runEvents": {"events": [{"seq": seq}]}}, "pad": ""})
    return f"{text[:-2]}{'x' * (size_bytes - len(text))}{text[-2:]}\n".encode()


@contextlib.asynccontextmanager
async def process(command: list[str], settings: dict[str, str] | None = None) -> AsyncIterator[Process]:
    """A process with the environment of this one, killed at the end of the block."""
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd()), **(settings or {})}
    started = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=own)
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.kill()
        await started.wait()


async def under_load(server: Process, load: Load, run_id: str, add_event: AddEvent) -> Outcome:
    port = await port_of(server)
    arguments = [str(port), QUERY, run_id, str(load.subscribers), str(load.stalled)]
    async with process([sys.executable, "-m", "tests.benchmarks.subscriber_crowd", *arguments]) as crowd:
        assert await answer(crowd) == {"subscribed": load.subscribers + load.stalled}
        watched = psutil.Process(server.pid)
        cutting = asyncio.create_task(seconds_until_cut(watched, port, load))
        before, began = cpu_seconds(watched), time.monotonic()
        committed_at = await add_events(load, add_event)
        cpu_percent = 100 * (cpu_seconds(watched) - before) / (time.monotonic() - began)
        assert crowd.stdin is not None
        crowd.stdin.write(json.dumps(committed_at).encode() + b"\n")
        seen = await answer(crowd)
        rss_mb = watched.memory_info().rss / 2**20
        cut_after_seconds = await cutting
        stop_seconds = await stop(server)
        return Outcome(seen, cpu_percent, rss_mb, cut_after_seconds, await answer(crowd), stop_seconds)


async def port_of(server: Process) -> int:
    assert server.stdout is not None
    async with asyncio.timeout(60):
        while (match := re.search(rb"http://127\.0\.0\.1:(\d+)", await server.stdout.readline())) is None:
            pass
    return int(match[1])


async def answer(crowd: Process) -> Any:
    assert crowd.stdout is not None
    return json.loads(await asyncio.wait_for(crowd.stdout.readline(), 300))


async def add_events(load: Load, add_event: AddEvent) -> list[float]:
    """Commits events at a constant rate; returns the commit time of each."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    committed_at = []
    for number in range(int(load.seconds * load.rate)):
        await asyncio.sleep(max(0.0, began + number / load.rate - loop.time()))
        committed_at.append(await add_event())
    return committed_at


async def seconds_until_cut(server: psutil.Process, port: int, load: Load) -> float | None:
    """Seconds until the server has closed all stalled connections; ``None`` if it does not."""
    began = time.monotonic()
    while load.stalled and time.monotonic() - began < load.seconds + 30:
        connections = await asyncio.to_thread(server.net_connections, "tcp")
        established = [one for one in connections if one.status == psutil.CONN_ESTABLISHED]
        if sum(one.laddr.port == port for one in established) <= load.subscribers:
            return time.monotonic() - began
        await asyncio.sleep(0.5)
    return None


def cpu_seconds(server: psutil.Process) -> float:
    times = server.cpu_times()
    return float(times.user + times.system)


async def stop(server: Process) -> float:
    """Seconds from SIGTERM to the end of the server, with all subscriptions open."""
    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    await asyncio.wait_for(server.wait(), 60)
    return time.monotonic() - began


def show(load: Load, ours: Outcome, bare: Outcome) -> None:
    events = int(load.seconds * load.rate)
    print(f"{load.subscribers} subscribers, {load.stalled} stalled; {events} events at {load.rate:g}/s")  # noqa: T201
    print(f"{'':34}{'mlp serve':>12}{'bare':>12}{'ratio':>8}")  # noqa: T201
    rows = {
        "saw every event once, in order": (ours.seen["right"], bare.seen["right"]),
        "bytes of a frame": (ours.seen["frame_bytes"], bare.seen["frame_bytes"]),
        "commit to client, p50 ms": (ours.seen["p50"], bare.seen["p50"]),
        "commit to client, p99 ms": (ours.seen["p99"], bare.seen["p99"]),
        "commit to client, max ms": (ours.seen["max"], bare.seen["max"]),
        "server CPU, % of a core": (ours.cpu_percent, bare.cpu_percent),
        "server RSS, MB": (ours.rss_mb, bare.rss_mb),
        "SIGTERM to the end, s": (ours.stop_seconds, bare.stop_seconds),
    }
    for name, (one, other) in rows.items():
        print(f"{name:34}{one:12.1f}{other:12.1f}{one / max(other, 1e-9):7.2f}x")  # noqa: T201
    print(f"stalled cut off after: {ours.cut_after_seconds} s; close codes: {ours.close_codes}")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=10)
    parser.add_argument("--stalled", type=int, default=0)
    asyncio.run(main(Load(**vars(parser.parse_args()))))
