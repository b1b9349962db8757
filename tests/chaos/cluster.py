"""Two API servers and two workers on one database, and the faults that hit them."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
from anyio import to_thread

from tests.chaos.database import Database
from tests.chaos.plan import Fault, FaultKind
from tests.chaos.processes import WRONG_SETTINGS, Target, free_port, some_runner

REVIVE_SECONDS = 0.2
RUNNER_PATIENCE_SECONDS = 3.0


class Cluster:
    """All homes are below one folder and share a store. A process that ends by itself is started again."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.store = folder / "artifacts"
        self._database = database
        self._restarting = anyio.Lock()
        self.injected: Counter[str] = Counter()
        self.unexpected: list[str] = []
        self.store.mkdir()
        ports = [free_port(), free_port()]
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        self.servers = [
            self._target(f"server-{number}", "serve", "--no-worker", "--port", str(port))
            for number, port in enumerate(ports, 1)
        ]
        self.workers = [self._target(f"worker-{number}", "work") for number in (1, 2)]

    def _target(self, name: str, *arguments: str) -> Target:
        home = self.folder / name
        home.mkdir(mode=0o700)
        (home / "artifacts").symlink_to(self.store)
        return Target(home, self._database.url, arguments)

    @property
    def database_url(self) -> str:
        return self._database.url

    def hosts(self) -> dict[str, uuid.UUID]:
        """Host ids of the workers by the names of their homes."""
        return {
            worker.home.name: uuid.UUID((worker.home / "host_id").read_text().strip())
            for worker in self.workers
        }

    def keep_traces(self) -> Path:
        """Copy the ledger and all logs to a folder that outlives the test."""
        kept = Path(tempfile.mkdtemp(prefix="mlp-chaos-failed-"))
        for path in self.folder.iterdir():
            if path.is_file():
                shutil.copy(path, kept)
        return kept

    @property
    def targets(self) -> list[Target]:
        return [*self.servers, *self.workers]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run all four processes during the block, and stop them by SIGTERM at its end."""
        for target in self.targets:
            target.start()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep_running)
                yield
                tasks.cancel_scope.cancel()
        finally:
            await to_thread.run_sync(self._stop)

    def _stop(self) -> None:
        for target in self.targets:
            target.begin_stop()
        for target in self.targets:
            # SIGTERM itself ends a process that has not installed its handler yet.
            if (code := target.end_stop()) not in (0, -signal.SIGTERM):
                self.unexpected.append(f"{target.home.name} ended with {code} after SIGTERM")

    async def _keep_running(self) -> None:
        while True:
            for target in self.targets:
                self._revive(target)
            await anyio.sleep(REVIVE_SECONDS)

    def _revive(self, target: Target) -> None:
        """Start a process again that has ended by itself, as an init system does. None should."""
        code = target.process.poll()
        if code is None:
            return
        if code == WRONG_SETTINGS:
            self.injected["start without a database"] += 1
        else:
            self.unexpected.append(f"{target.home.name} ended by itself with {code}")
        target.start()

    async def inject(self, faults: Sequence[Fault]) -> None:
        """Inject every fault at its time; returns when no process is frozen any more."""
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for fault in faults:
                await anyio.sleep_until(began + fault.at_seconds)
                tasks.start_soon(self._inject, fault)

    async def _inject(self, fault: Fault) -> None:
        candidates = (
            self.servers if fault.kind in (FaultKind.KILL_SERVER, FaultKind.FREEZE_SERVER) else self.workers
        )
        target = candidates[int(fault.lot * len(candidates))]
        match fault.kind:
            case FaultKind.KILL_SERVER | FaultKind.KILL_WORKER:
                self._revive(target)
                target.kill()
                target.start()
                injected = True
            case FaultKind.FREEZE_SERVER | FaultKind.FREEZE_WORKER:
                injected = await _freeze(target, fault.seconds)
            case FaultKind.KILL_RUNNER:
                injected = await self._signal_runner(fault, signal.SIGKILL)
            case FaultKind.KILL_SHIM:
                injected = await self._signal_runner(fault, signal.SIGKILL, and_guardian=True)
            case FaultKind.FREEZE_RUNNER:
                injected = await self._signal_runner(fault, signal.SIGSTOP)
            case FaultKind.CUT_ALL | FaultKind.RESTART_FAST | FaultKind.RESTART_IMMEDIATE:
                injected = await self._disturb_database(fault)
        self.injected[fault.kind.value] += injected

    async def _signal_runner(
        self, fault: Fault, number: signal.Signals, *, and_guardian: bool = False
    ) -> bool:
        homes = [worker.home for worker in self.workers]
        with anyio.move_on_after(RUNNER_PATIENCE_SECONDS):
            while (runner := some_runner(homes, fault.lot, and_guardian=and_guardian)) is None:  # noqa: ASYNC110 (other processes)
                await anyio.sleep(0.05)
        if runner is None:
            return False
        with contextlib.closing(runner):
            runner.send(number)
            if number is signal.SIGSTOP:
                await anyio.sleep(fault.seconds)
                runner.send(signal.SIGCONT)
        return True

    async def _disturb_database(self, fault: Fault) -> bool:
        """One fault at a time: a database that is down can't be disturbed."""
        try:
            self._restarting.acquire_nowait()
        except anyio.WouldBlock:
            return False
        try:
            if fault.kind is FaultKind.CUT_ALL:
                await self._database.cut_all()
            else:
                how = signal.SIGINT if fault.kind is FaultKind.RESTART_FAST else signal.SIGQUIT
                await self._database.restart(how, fault.seconds)
        finally:
            self._restarting.release()
        return True


async def _freeze(target: Target, seconds: float) -> bool:
    if target.is_frozen:
        return False
    frozen = target.freeze()
    await anyio.sleep(seconds)
    target.thaw(frozen)
    return True
