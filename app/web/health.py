"""``GET /health``: whether the server is alive; ``GET /health/ready``: whether all its parts work."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

_DATABASE_SECONDS = 2.0
_CACHE_SECONDS = 1.0
_LONGEST_SILENCE_SECONDS = 15.0
_NO_STORE = {"Cache-Control": "no-store"}


@dataclass
class Health:
    """Answers ``/health`` and ``/health/ready``.

    ``supervisor_silence``: seconds since the last pass of this process's supervisor; ``None`` without a supervisor.
    ``disk_shortage``: a sentence if the disk has too little free space, else ``None``.
    """

    engine: AsyncEngine
    version: str
    environment: str
    supervisor_silence: Callable[[], float] | None = None
    disk_shortage: Callable[[], str | None] | None = None
    _started: float = field(default_factory=time.monotonic, init=False)
    _database: DatabaseProbe = field(init=False)

    def __post_init__(self) -> None:
        self._database = DatabaseProbe(self.engine)

    def routes(self) -> list[Route]:
        return [Route("/health", self.live), Route("/health/ready", self.ready)]

    async def live(self, request: Request) -> JSONResponse:
        """200 whenever the process answers, with its version, uptime, memory and the state of the database."""
        problem = await self._database.problem()
        memory = psutil.Process().memory_info()
        body: dict[str, Any] = {
            "status": "healthy" if problem is None else "degraded",
            "version": self.version,
            "database": "connected" if problem is None else "unreachable",
            "uptime": round(time.monotonic() - self._started, 3),
            "environment": self.environment,
            "timestamp": dt.datetime.now(dt.UTC).isoformat(),
            "memory": {"rss": memory.rss, "vms": memory.vms},
        }
        return JSONResponse(body, headers=_NO_STORE)

    async def ready(self, request: Request) -> JSONResponse:
        """200 if every part works, else 503; the body names each part and its problem.

        A shortage on the disk does not cause a 503: reads, cancels and running stages continue, so requests must too.
        """
        problems = {"database": await self._database.problem(), "supervisor": self._supervisor_problem()}
        parts = {name: "ok" if problem is None else problem for name, problem in problems.items()}
        if self.supervisor_silence is None:
            parts["supervisor"] = "not in this process"
        if self.disk_shortage is not None:
            parts["disk"] = self.disk_shortage() or "ok"
        reasons = [f"{name}: {problem}" for name, problem in problems.items() if problem is not None]
        body = {"status": "not ready" if reasons else "ready", "parts": parts, "reasons": reasons}
        return JSONResponse(body, 503 if reasons else 200, _NO_STORE)

    def _supervisor_problem(self) -> str | None:
        silence = 0.0 if self.supervisor_silence is None else self.supervisor_silence()
        return f"silent for {silence:.0f} s" if silence > _LONGEST_SILENCE_SECONDS else None


class DatabaseProbe:
    """Queries the database at most once per second, however many requests ask for its health."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._lock = asyncio.Lock()
        self._checked_at = float("-inf")
        self._problem: str | None = None

    async def problem(self) -> str | None:
        """What is wrong in a few words, without the address of the database; ``None`` if it answers."""
        async with self._lock:
            if time.monotonic() - self._checked_at > _CACHE_SECONDS:
                self._problem = await self._check()
                self._checked_at = time.monotonic()
            return self._problem

    async def _check(self) -> str | None:
        try:
            async with asyncio.timeout(_DATABASE_SECONDS), self._engine.connect() as connection:
                await connection.execute(sa.select(1))
        except TimeoutError:
            return f"no answer within {_DATABASE_SECONDS:.0f} s"
        except Exception as error:
            return f"can't be reached ({type(error).__name__})"
        return None
