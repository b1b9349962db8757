"""A real server on a free port of 127.0.0.1, within the test's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import uvicorn
from starlette.types import ASGIApp


@contextlib.asynccontextmanager
async def serving(application: ASGIApp, **config: Any) -> AsyncIterator[int]:
    """The port where the application answers during the block."""
    server = uvicorn.Server(uvicorn.Config(application, log_config=None, lifespan="off", **config))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await asyncio.wait_for(task, 10)


@contextlib.asynccontextmanager
async def client_of(application: ASGIApp) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(application) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        yield client
