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
    """All homes are below one folder, the store is shared; what ended by itself is started again."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.store = folder / "artifacts"
        self._database = database
        self._restarting = anyio.Lock()
        self.done: Counter[str] = Counter()
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
        """Copies the ledger and what everybody logged to a folder that stays."""
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
        """All four run during the block and are stopped in good order at its end."""
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
            if (code := target.end_stop()) not in (
                0,
                -signal.SIGTERM,
            ):  # the latter before it has any handler
                self.unexpected.append(f"{target.home.name} ended with {code} when it was told to stop")

    async def _keep_running(self) -> None:
        while True:
            for target in self.targets:
                self._revive(target)
            await anyio.sleep(REVIVE_SECONDS)

    def _revive(self, target: Target) -> None:
        """What an init system does: starts it again if it ended by itself, which it should not."""
        code = target.process.poll()
        if code is None:
            return
        if code == WRONG_SETTINGS:
            self.done["start without a database"] += 1
        else:
            self.unexpected.append(f"{target.home.name} ended by itself with {code}")
        target.start()

    async def rage(self, faults: Sequence[Fault]) -> None:
        """Every fault at its time; when this returns, nothing stands still any more."""
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for fault in faults:
                await anyio.sleep_until(began + fault.at_seconds)
                tasks.start_soon(self._happen, fault)

    async def _happen(self, fault: Fault) -> None:
        side = (
            self.servers if fault.kind in (FaultKind.KILL_SERVER, FaultKind.FREEZE_SERVER) else self.workers
        )
        target = side[int(fault.lot * len(side))]
        match fault.kind:
            case FaultKind.KILL_SERVER | FaultKind.KILL_WORKER:
                self._revive(target)
                target.kill()
                target.start()
                happened = True
            case FaultKind.FREEZE_SERVER | FaultKind.FREEZE_WORKER:
                happened = await _freeze(target, fault.seconds)
            case FaultKind.KILL_RUNNER:
                happened = await self._signal_runner(fault, signal.SIGKILL)
            case FaultKind.KILL_SHIM:
                happened = await self._signal_runner(fault, signal.SIGKILL, and_guardian=True)
            case FaultKind.FREEZE_RUNNER:
                happened = await self._signal_runner(fault, signal.SIGSTOP)
            case FaultKind.CUT_ALL | FaultKind.RESTART_FAST | FaultKind.RESTART_IMMEDIATE:
                happened = await self._disturb_database(fault)
        self.done[fault.kind.value] += happened

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
        """One at a time: a database that is away can't be disturbed."""
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
