"""The server as a whole, with its settings."""

from __future__ import annotations

import aiohttp
import pytest

from app.errors import StartupError
from app.main import allowed_hosts
from app.settings import load_settings
from app.web.server import RunningServer, listening_socket
from tests.clients.conftest import ask, server, start, worker_home

__all__ = ["server", "worker_home"]


async def test_a_run_without_an_environment_gets_the_one_of_the_server(server: RunningServer) -> None:
    run_id = await start(server, ["true"])
    answer = await ask(server, "query ($id: ID!) { run(id: $id) { environment } }", id=run_id)
    assert answer == {"run": {"environment": "development"}}


async def test_a_request_for_another_host_is_refused(server: RunningServer) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(server.url + "/health", headers={"Host": "rebind.example"}) as response,
    ):
        assert response.status == 400


def test_a_port_in_use_is_reported_in_one_line() -> None:
    with listening_socket("127.0.0.1", 0) as taken:
        taken.listen()
        again = listening_socket("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(StartupError, match="choose another PORT"):
            again.__enter__()


def test_a_wildcard_address_is_not_an_allowed_host() -> None:
    settings = load_settings(host="0.0.0.0", api_token="t" * 32, allowed_hosts=("ml.example",))
    assert allowed_hosts(settings) == ["localhost", "127.0.0.1", "::1", "ml.example"]
