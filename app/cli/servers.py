"""The address of the server with the current settings, and connections to any server."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Annotated

import typer

from app.client.connection import Connection, connected, is_our_server
from app.settings import Settings

Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Address of the server. Default: from HOST and PORT.", show_default=False
    ),
]

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def local_address(settings: Settings) -> str:
    """The address at which this machine reaches a server with these settings."""
    host = _WILDCARDS.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


async def running_here(settings: Settings) -> str | None:
    """The address of the server with these settings, if it is running."""
    url = local_address(settings)
    return url if settings.port and await is_our_server(url) else None


def connection_to(url: str, settings: Settings) -> AbstractAsyncContextManager[Connection]:
    """A connection that authenticates with ``MLP_API_TOKEN``."""
    return connected(url, settings.api_token.get_secret_value() if settings.api_token else None)
