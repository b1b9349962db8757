"""PostgreSQL as a part of this program: own data under MLP_HOME, reached by a private socket only.

It is no child which dies with us: after a SIGKILL it goes on and the next start finds it. Every user of it
holds a shared lock on ``users.lock``; the last one to leave stops it.

Nobody else gets in: there is no TCP port, the socket lies in a folder with mode 0700, and the server asks
the kernel who is at the other end (``peer``), so no password exists which could leak.
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

# Recovery after a crash may have to replay a gigabyte.
START_TIMEOUT_SECONDS = 120.0
STOP_TIMEOUT_SECONDS = 60.0
ORPHAN_TIMEOUT_SECONDS = 10.0
_LOCK_POLL_SECONDS = 0.02
_WATCH_SECONDS = 1.0


class EmbeddedPostgres:
    """The PostgreSQL under one MLP_HOME, shared by all processes which use that folder.

    ``async with EmbeddedPostgres(home) as url`` is ``start`` and ``stop``.
    """

    def __init__(self, home: Path) -> None:
        self._files = PostgresData(home.resolve())
        self._users_lock: IO[bytes] | None = None

    async def start(self) -> str:
        """Start the server, or find it running; returns its URL.

        An ``EmbeddedPostgresError`` says in one line what the operator can do.
        """
        starting = asyncio.ensure_future(asyncio.to_thread(self._start))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait([starting])
            await self.stop()
            raise

    async def stop(self) -> None:
        """Leave the server; it is stopped in good order when nobody else uses it."""
        await asyncio.to_thread(self._stop)

    async def __aenter__(self) -> str:
        return await self.start()

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    @contextlib.asynccontextmanager
    async def kept_running(self) -> AsyncIterator[None]:
        """During the block a server that ends by itself, say for want of memory, is started again."""
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
                logger.warning("PostgreSQL has ended by itself; it is started again")
                try:
                    await asyncio.to_thread(self._revive)
                except (EmbeddedPostgresError, OSError) as error:
                    logger.error("PostgreSQL can't be started again: %s", error)

    def _revive(self) -> None:
        with self._alone():
            if self._users_lock is not None and self._running() is None:
                self._launch(account_of_this_process())

    def _start(self) -> str:
        account = account_of_this_process()
        try:
            self._files.make_folders(account)
            with self._alone():
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
        with self._alone(), self._users_lock as users:
            self._users_lock = None
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            postmaster = find_postmaster(self._files.data)
            if postmaster and not postmaster.stop(STOP_TIMEOUT_SECONDS):
                logger.warning("PostgreSQL (pid %d) takes long to shut down", postmaster.process.pid)

    def _alone(self) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Hold the lock under which the server is started and stopped."""
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
                f"PostgreSQL (pid {postmaster.process.pid}) does not get ready: see {self._files.log}"
            )
        return None

    def _launch(self, account: Account) -> Postmaster:
        programs = usable_programs(account, self._files.folder / "programs")
        self._files.make_data(programs / "initdb", account)
        self._files.write_access_rules(account)
        self._files.rotate_log()
        arguments = self._files.server_arguments(self._files.make_socket_folder(account))
        # Inherited by every process of the server, this lock is free only when the last of them has gone, even
        # if they run in another container where neither their pids nor their shared memory can be seen.
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
            f"PostgreSQL did not start: {self._files.last_complaint()} (see {self._files.log})"
        )


def _try_lock(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _url(socket_folder: Path) -> str:
    # The port is part of the socket's name; without it PGPORT of the environment would count.
    query = {"host": str(socket_folder), "port": str(PORT)}
    url = URL.create("postgresql", username=SUPERUSER, database="postgres", query=query)
    return url.render_as_string()
