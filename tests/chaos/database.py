"""A PostgreSQL server of the test's own, which the test restarts and whose connections it terminates."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Self

import anyio
from sqlalchemy.engine import make_url

from app.database.engine import connect
from app.postgres.postmaster import find_postmaster
from app.postgres.server import EmbeddedPostgres

NAME = "chaos"
TERMINATE_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"


class Database:
    """One database on one server; its URL stays the same when the server is restarted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owners = contextlib.AsyncExitStack()
        self._server_url = ""

    async def __aenter__(self) -> Self:
        await self._start()
        connection = await connect(self._server_url)
        await connection.execute(f"CREATE DATABASE {NAME}")
        await connection.close()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._owners.aclose()

    @property
    def url(self) -> str:
        return make_url(self._server_url).set(database=NAME).render_as_string(hide_password=False)

    async def _start(self) -> None:
        self._server_url = await self._owners.enter_async_context(EmbeddedPostgres(self._folder))

    async def cut_all(self) -> None:
        """Terminate every connection to the database."""
        connection = await connect(self._server_url)
        try:
            await connection.execute(TERMINATE_ALL, NAME)
        finally:
            await connection.close()

    async def restart(self, how: signal.Signals, seconds: float) -> None:
        """Restart the server. SIGINT is a fast shutdown; SIGQUIT an immediate one, after which the start recovers."""
        postmaster = find_postmaster(self._folder / "postgres" / "data")
        assert postmaster is not None
        postmaster.process.send_signal(how)
        while postmaster.alive():  # noqa: ASYNC110 (no child of ours)
            await anyio.sleep(0.02)
        await anyio.sleep(seconds)
        await self._start()
