"""Which server a command talks to: the given one, the one that is running here, or one of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from app.client.connection import Connection, base_url, connected, is_our_server
from app.main import running_server
from app.settings import Settings

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def local_address(settings: Settings) -> str:
    """Where a server with these settings is reached from this machine."""
    host = _WILDCARDS.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


async def running_here(settings: Settings) -> str | None:
    """The address of the server with these settings, if it is running."""
    url = local_address(settings)
    return url if settings.port and await is_our_server(url) else None


@asynccontextmanager
async def some_server(
    settings: Settings, url: str | None, tell: Callable[[str], object]
) -> AsyncIterator[str]:
    """The address of a server which executes runs; one of our own lives as long as the block."""
    if found := base_url(url) if url else await running_here(settings):
        yield found
        return
    tell(f"No server answers at {local_address(settings)}; starting one for this run.")
    own = settings.model_copy(update={"host": "127.0.0.1", "port": 0})
    async with running_server(own) as server:
        yield server.url


def connection_to(url: str, settings: Settings) -> AbstractAsyncContextManager[Connection]:
    """``MLP_API_TOKEN`` opens the door of others as it guards our own."""
    return connected(url, settings.api_token.get_secret_value() if settings.api_token else None)
