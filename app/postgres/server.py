"""The embedded PostgreSQL: its data is below MLP_HOME, and it is reached by a private socket only.

The server outlives its users: after a SIGKILL it keeps running, and the next start reuses it. Every process that uses
it holds a shared lock on ``users.lock``; the last one to release it stops the server.

Access is limited to one account: there is no TCP port, the folder of the socket has mode 0700, and the server asks the
kernel for the user at the other end (``peer``), so there is no password that could leak.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

import psutil
from sqlalchemy.engine import URL

from app.postgres.data import ENVIRONMENT, PORT, SUPERUSER, PostgresData
from app.postgres.errors import EmbeddedPostgresError
from app.postgres.install import Account, account_of_this_process, usable_programs
from app.postgres.postmaster import Postmaster, disown_lock_file, find_postmaster

logger = logging.getLogger(__name__)

# Recovery after a crash may replay a gigabyte.
START_TIMEOUT_SECONDS = 120.0
STOP_TIMEOUT_SECONDS = 60.0
ORPHAN_TIMEOUT_SECONDS = 10.0
_LOCK_POLL_SECONDS = 0.02
_WATCH_SECONDS = 1.0


class EmbeddedPostgres:
    """The PostgreSQL server of one MLP_HOME, shared by all processes that use that folder.

    ``async with EmbeddedPostgres(home) as url`` calls ``start`` and ``stop``.
    """

    def __init__(self, home: Path) -> None:
        self._files = PostgresData(home.resolve())
        self._users_lock: IO[bytes] | None = None

    async def start(self) -> str:
        """Start the server, or reuse the running one; returns its URL (``postgresql://``).

        Raises ``EmbeddedPostgresError``, whose one line says what the operator can do.
        """
        starting = asyncio.ensure_future(asyncio.to_thread(self._start))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait([starting])
            await self.stop()
            raise

    async def stop(self) -> None:
        """Release the server; stop it by a fast shutdown if no other process uses it."""
        await asyncio.to_thread(self._stop)

    async def __aenter__(self) -> str:
        return await self.start()

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    @contextlib.asynccontextmanager
    async def kept_running(self) -> AsyncIterator[None]:
        """Restart the server if it ends by itself during the block, for example when memory runs out."""
        watch = asyncio.create_task(self._keep_running(), name="postgres-watch")
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.wait([watch])

    async def _keep_running(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if find_postmaster(self._files.data) is None:
                logger.warning("PostgreSQL has ended by itself, restarting it")
                try:
                    await asyncio.to_thread(self._restart)
                except (EmbeddedPostgresError, OSError) as error:
                    logger.error("PostgreSQL can't be restarted: %s", error)

    def _restart(self) -> None:
        with self._start_lock():
            if self._users_lock is not None and self._running() is None:
                self._launch(account_of_this_process())

    def _start(self) -> str:
        account = account_of_this_process()
        try:
            self._files.make_folders(account)
            with self._start_lock():
                postmaster = self._running() or self._launch(account)
                self._users_lock = (self._files.folder / "users.lock").open("ab")
                fcntl.flock(self._users_lock, fcntl.LOCK_SH)
                return _url(postmaster.socket_folder())
        except OSError as error:
            raise EmbeddedPostgresError(
                f"the built-in database can't be used: {error.strerror} ({error.filename}): "
                "set MLP_HOME to another folder, or DATABASE_URL to a PostgreSQL server"
            ) from error

    def _stop(self) -> None:
        if self._users_lock is None:
            return
        with self._start_lock(), self._users_lock as users:
            self._users_lock = None
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            postmaster = find_postmaster(self._files.data)
            if postmaster and not postmaster.stop(STOP_TIMEOUT_SECONDS):
                logger.warning("PostgreSQL (pid %d) has not shut down in time", postmaster.process.pid)

    def _start_lock(self) -> contextlib.AbstractContextManager[IO[bytes]]:
        """The lock that is held while the server is started or stopped."""
        return self._lock("start.lock", START_TIMEOUT_SECONDS + STOP_TIMEOUT_SECONDS)

    @contextlib.contextmanager
    def _lock(self, name: str, timeout_seconds: float) -> Iterator[IO[bytes]]:
        deadline = time.monotonic() + timeout_seconds
        with (self._files.folder / name).open("ab") as lock:
            while not _try_lock(lock):
                if time.monotonic() > deadline:
                    raise EmbeddedPostgresError(
                        f"another process, perhaps in another container, holds {lock.name}: end it"
                    )
                time.sleep(_LOCK_POLL_SECONDS)
            yield lock

    def _running(self) -> Postmaster | None:
        postmaster = find_postmaster(self._files.data)
        if postmaster is None or postmaster.wait_until_ready(START_TIMEOUT_SECONDS):
            return postmaster
        if postmaster.alive():
            raise EmbeddedPostgresError(
                f"PostgreSQL (pid {postmaster.process.pid}) does not become ready: see {self._files.log}"
            )
        return None

    def _launch(self, account: Account) -> Postmaster:
        programs = usable_programs(account, self._files.folder / "programs")
        self._files.make_data(programs / "initdb", account)
        self._files.write_access_rules(account)
        self._files.rotate_log()
        arguments = self._files.server_arguments(self._files.make_socket_folder(account))
        # Every process of the server inherits this lock, so it is free only when the last of them has ended, even if
        # they run in another container, where neither their pids nor their shared memory are visible.
        with self._lock("server.lock", ORPHAN_TIMEOUT_SECONDS) as lock, self._files.log.open("ab") as log:
            disown_lock_file(self._files.data)
            process = subprocess.Popen(
                [programs / "postgres", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=ENVIRONMENT, umask=0o077,
                pass_fds=[lock.fileno()], start_new_session=True, **account.process_arguments(),
            )  # fmt: skip
        threading.Thread(target=process.wait, name="postgres-reaper", daemon=True).start()
        return self._ready(process.pid)

    def _ready(self, pid: int) -> Postmaster:
        with contextlib.suppress(psutil.NoSuchProcess):
            postmaster = Postmaster(psutil.Process(pid), self._files.data)
            if postmaster.wait_until_ready(START_TIMEOUT_SECONDS):
                return postmaster
            postmaster.stop(STOP_TIMEOUT_SECONDS)
        raise EmbeddedPostgresError(
            f"PostgreSQL did not start: {self._files.last_error()} (see {self._files.log})"
        )


def _try_lock(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _url(socket_folder: Path) -> str:
    # The port is part of the socket's name. Without it, PGPORT of the environment would apply.
    query = {"host": str(socket_folder), "port": str(PORT)}
    url = URL.create("postgresql", username=SUPERUSER, database="postgres", query=query)
    return url.render_as_string()
