"""Serves an ASGI application by uvicorn, with the protocols of this package."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp

from app.errors import StartupError
from app.web.http import HttpProtocol
from app.web.middleware import GRAPHQL_PATH
from app.web.websocket import WebSocketProtocol

SHUTDOWN_SECONDS = 3
PING_SECONDS = 7.0
"""Between pings of a websocket, and until its pong: a client that stops reading is disconnected within 15 seconds."""


class RunningServer:
    """A server that answers at ``url``."""

    def __init__(self, url: str, uvicorn_task: asyncio.Task[None]) -> None:
        self.url = url
        self._uvicorn_task = uvicorn_task

    @property
    def graphql_url(self) -> str:
        """The address of the GraphQL API and of its page, GraphiQL."""
        return self.url + GRAPHQL_PATH

    async def wait_stopped(self) -> None:
        """Return when the server has stopped by itself, which only a failure causes."""
        await asyncio.wait([self._uvicorn_task])


@contextlib.contextmanager
def listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket. Bound before anything else starts, so that a port in use is reported at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartupError(
            f"can't listen on {host} port {port} ({error.strerror}): choose another PORT or HOST"
        ) from None
    with listener:
        yield listener


class _Server(uvicorn.Server):
    """Leaves the handling of signals to the command line."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket) -> AsyncIterator[RunningServer]:
    """Serve the application on the socket for the time of the block, which begins when it answers."""
    config = uvicorn.Config(
        app,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=64 * 1024,
        ws_per_message_deflate=False,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve([listener]))
    try:
        while not server.started:
            if task.done():
                raise StartupError("the web server did not start; its log says why")
            await asyncio.sleep(0.01)
        gc.freeze()
        # A response consists of thousands of objects that live until it is sent. Looking for cycles among them every
        # 700 objects, the default, takes a tenth of the time of a nested query and finds none.
        gc.set_threshold(50_000, 20, 50)
        host, port = listener.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        yield RunningServer(f"http://{name}:{port}", task)
    finally:
        server.should_exit = True
        await task
