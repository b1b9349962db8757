"""The middleware that requests pass, over real HTTP."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from web_server import client_of, serving

from app.telemetry import add_ids
from app.web.middleware import guards

TOKEN = "a-token-of-the-test"
HOSTS = ["127.0.0.1", "localhost", "::1"]
TOO_LARGE = {
    "errors": [
        {
            "message": "The body of a request must not have more than 1000000 bytes.",
            "extensions": {"code": "BAD_REQUEST"},
        }
    ]
}
"""The response of the GraphQL endpoint to a larger body."""

logger = logging.getLogger("the route")


async def echo(request: Request) -> JSONResponse:
    logger.info("in the route")
    return JSONResponse({"bytes": len(await request.body())})


async def accept_websocket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


def application(*, token: str | None = None) -> Starlette:
    paths = ("/graphql", "/health", "/health/ready", "/assets/page.js", "/artifacts/1/content")
    return Starlette(
        routes=[
            Route("/", PlainTextResponse("the start")),
            *(Route(path, echo, methods=["GET", "POST"]) for path in paths),
            WebSocketRoute("/graphql", accept_websocket),
            WebSocketRoute("/elsewhere", accept_websocket),
        ],
        middleware=guards(allowed_hosts=HOSTS, token=token),
    )


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with client_of(application()) as client:
        yield client


@pytest.fixture(scope="module")
async def guarded() -> AsyncIterator[aiohttp.ClientSession]:
    """A client without a token, of a server that requires one."""
    async with client_of(application(token=TOKEN)) as client:
        yield client


class Records(logging.Handler):
    """Collects records with the ids that a log line would show."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(add_ids)
        self.kept: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record)


@pytest.fixture
def records() -> AsyncIterator[list[logging.LogRecord]]:
    handler = Records()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.kept
    logger.removeHandler(handler)


async def test_a_valid_request_id_is_used_and_is_in_the_log_records(
    client: aiohttp.ClientSession, records: list[logging.LogRecord]
) -> None:
    async with client.get("/graphql", headers={"X-Request-ID": "from-the-proxy.1"}) as response:
        assert response.headers["X-Request-ID"] == "from-the-proxy.1"
    assert [vars(record)["request_id"] for record in records] == ["from-the-proxy.1"]


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 65, 'a"b', "ä"])
async def test_any_other_request_id_is_replaced(client: aiohttp.ClientSession, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-ID": given}
    async with client.get("/graphql", headers=headers) as response:
        assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-ID"])


async def test_requests_at_the_same_time_have_their_own_ids(
    client: aiohttp.ClientSession, records: list[logging.LogRecord]
) -> None:
    async def ask(name: str) -> str:
        async with client.get("/graphql", headers={"X-Request-ID": name}) as response:
            return response.headers["X-Request-ID"]

    names = [f"request-{number}" for number in range(20)]
    assert await asyncio.gather(*map(ask, names)) == names
    assert sorted(vars(record)["request_id"] for record in records) == sorted(names)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9095", "LOCALHOST", "[::1]", "[::1]:9095"])
async def test_requests_for_allowed_hosts_are_accepted(client: aiohttp.ClientSession, host: str) -> None:
    async with client.get("/health", headers={"Host": host}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "host", ["rebind.evil", "localhost.evil", "localhost.", "2130706433", "0.0.0.0", "", "::1", "[::2]"]
)
async def test_requests_for_other_hosts_are_refused(client: aiohttp.ClientSession, host: str) -> None:
    async with client.get("/health", headers={"Host": host}) as response:
        assert response.status == 400


async def test_two_host_headers_are_refused() -> None:
    async with serving(application()) as port:
        request = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: rebind.evil\r\nConnection: close\r\n\r\n"
        assert (await raw_request(port, request)).startswith(b"HTTP/1.1 400")


async def test_a_websocket_for_another_host_is_refused(client: aiohttp.ClientSession) -> None:
    assert await websocket_text(client, "/graphql") == "hello"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await websocket_text(client, "/graphql", Host="rebind.evil")
    assert refusal.value.status == 400


@pytest.mark.parametrize(
    "authorization",
    [None, "", TOKEN, f"Basic {TOKEN}", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"],
)
async def test_requests_without_the_token_are_refused(
    guarded: aiohttp.ClientSession, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for method, path in (("POST", "/graphql"), ("GET", "/graphql"), ("GET", "/artifacts/1/content")):
        async with guarded.request(method, path, headers=headers) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            assert response.content_type == "application/json"
            assert (await response.json())["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_requests_with_the_token_are_accepted(guarded: aiohttp.ClientSession, scheme: str) -> None:
    async with guarded.post("/graphql", headers={"Authorization": f"{scheme} {TOKEN}"}) as response:
        assert response.status == 200


@pytest.mark.parametrize("path", ["/", "/health", "/health/ready", "/assets/page.js"])
async def test_health_and_the_page_need_no_token(guarded: aiohttp.ClientSession, path: str) -> None:
    async with guarded.get(path) as response:
        assert response.status == 200


async def test_a_browser_may_open_only_the_page_without_the_token(guarded: aiohttp.ClientSession) -> None:
    browser = {"Accept": "text/html,*/*"}
    for method, path, status in (
        ("GET", "/graphql", 200),
        ("GET", "/graphql?query={runs{totalCount}}", 401),
        ("GET", "/graphql?%71uery={runs{totalCount}}", 401),
        ("POST", "/graphql", 401),
        ("POST", "/health", 401),
    ):
        async with guarded.request(method, path, headers=browser) as response:
            assert response.status == status, (method, path)


async def test_only_the_graphql_websocket_passes_without_the_token_for_its_view_to_check(
    guarded: aiohttp.ClientSession,
) -> None:
    assert await websocket_text(guarded, "/graphql") == "hello"
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await websocket_text(guarded, "/elsewhere")


async def test_a_body_up_to_the_limit_is_read_and_a_larger_one_is_refused(
    client: aiohttp.ClientSession,
) -> None:
    async with client.post("/graphql", data=b"x" * 1_000_000) as response:
        assert await response.json() == {"bytes": 1_000_000}
    async with client.post("/graphql", data=b"x" * 1_000_001) as response:
        assert (response.status, await response.json()) == (413, TOO_LARGE)
    async with client.post("/health", data=b"x" * 1_000_001) as response:
        assert (response.status, response.content_type) == (413, "text/plain")


async def test_a_body_of_unknown_length_is_cut_off_at_the_limit(client: aiohttp.ClientSession) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 100_000

    async with client.post("/graphql", data=chunks()) as response:
        assert (response.status, await response.json()) == (413, TOO_LARGE)


async def raw_request(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


async def websocket_text(client: aiohttp.ClientSession, path: str, **headers: str) -> str:
    async with client.ws_connect(path, headers=headers) as websocket:
        return await websocket.receive_str()
