"""The HTTP endpoint, with API clients, browsers and faulty clients."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.factories import Factory

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
QUERY = "{ systemStatus { pendingRuns } }"
ANSWER = {"systemStatus": {"pendingRuns": 0}}


class Client:
    """Sends requests to ``/graphql`` of a server."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session = session
        self._url = f"http://{address}/graphql"

    async def send(
        self, method: str = "POST", *, accept: str = JSON, content_type: str = JSON, **options: Any
    ) -> tuple[int, str, Any]:
        """Status, media type and parsed body of the response."""
        headers = {"accept": accept, "content-type": content_type} if content_type else {"accept": accept}
        async with self._session.request(method, self._url, headers=headers, **options) as response:
            is_json = response.content_type.endswith("json")
            return (
                response.status,
                response.content_type,
                await (response.json(content_type=None) if is_json else response.text()),
            )


@pytest.fixture
async def client(server: str) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(session, server)


async def test_a_query_is_answered_with_its_cost(client: Client) -> None:
    status, media_type, body = await client.send(json={"query": QUERY})
    assert (status, media_type, body["data"]) == (200, JSON, ANSWER)
    assert body["extensions"]["cost"]["sqlStatements"] == 2


async def test_the_client_chooses_the_media_type(client: Client) -> None:
    for accept, expected in (
        (GRAPHQL, GRAPHQL),
        (f"{JSON}, {GRAPHQL}", GRAPHQL),
        (f"{JSON}, {GRAPHQL};q=0.5", JSON),
        (f"{JSON};q=0.1, {GRAPHQL};q=nonsense", JSON),
        ("*/*", JSON),
        ("text/event-stream, application/json", JSON),
        ("image/png", JSON),
    ):
        _, media_type, body = await client.send(accept=accept, json={"query": QUERY})
        assert (media_type, body["data"]) == (expected, ANSWER), accept


async def test_a_query_may_come_by_get_but_a_mutation_may_not(client: Client) -> None:
    status, _, body = await client.send("GET", content_type="", params={"query": QUERY})
    assert (status, body["data"]) == (200, ANSWER)
    mutation = 'mutation { cancelRun(input: {runId: "x"}) { errors { code } } }'
    status, _, body = await client.send("GET", content_type="", params={"query": mutation})
    assert status == 400
    assert "data" not in body


@pytest.mark.parametrize(
    "accept", [JSON, GRAPHQL, "*/*", "text/event-stream", 'multipart/mixed;boundary="-"']
)
async def test_a_subscription_over_http_is_refused_with_a_reason(
    client: Client, caplog: pytest.LogCaptureFixture, accept: str
) -> None:
    request = {"query": "subscription { systemSamples { cpuPercent } }"}
    for status, _, body in (
        await client.send(accept=accept, json=request),
        await client.send("GET", accept=accept, content_type="", params=request),
    ):
        assert (status, body) == (
            400,
            {
                "errors": [
                    {
                        "message": "subscriptions need a websocket (graphql-transport-ws) at this address",
                        "extensions": {"code": "BAD_REQUEST"},
                    }
                ]
            },
        )
    assert caplog.text == ""


async def test_only_a_browser_gets_the_page(client: Client) -> None:
    status, media_type, text = await client.send("GET", content_type="", accept="text/html,*/*;q=0.8")
    assert (status, media_type, text) == (200, "text/plain", "the page for browsers")
    status, _, body = await client.send("GET", content_type="", accept="*/*")
    assert (status, body["errors"][0]["message"]) == (400, "No GraphQL query found in the request")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"1",
        b'"x"',
        b"null",
        b"[]",
        b'[{"query": "{ __typename }"}]',
        b"9" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe",
        b'{"query": 1}',
        b'{"query": null}',
        b'{"query": ["{ __typename }"]}',
        b'{"query": "{ __typename }", "variables": [1]}',
        b'{"query": "{ __typename }", "variables": "x"}',
        b'{"query": "{ __typename }", "extensions": 1}',
        b'{"query": "{ __typename }", "operationName": ["x"]}',
        b'{"query": "{ __typename }", "operationName": "absent"}',
        b'{"query": "query a { __typename } query b { __typename }"}',
        b'{"query": "\\ud800"}',
    ],
)
async def test_a_malformed_body_is_refused_without_a_traceback(
    client: Client, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    with caplog.at_level(logging.WARNING):
        status, media_type, answer = await client.send(accept=GRAPHQL, data=body)
    assert (status, media_type) == (400, GRAPHQL)
    assert answer["errors"][0]["message"]
    assert "data" not in answer
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_only_json_is_accepted_so_that_no_form_of_another_site_works(
    client: Client, content_type: str
) -> None:
    status, _, answer = await client.send(content_type=content_type, data=b'{"query": "{ __typename }"}')
    assert (status, answer["errors"][0]["extensions"]["code"]) == (415, "BAD_REQUEST")


async def test_parameters_of_the_content_type_do_not_matter(client: Client) -> None:
    for content_type in (
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/json; x*0=1; x*=2",
    ):
        status, _, answer = await client.send(content_type=content_type, json={"query": QUERY})
        assert (status, answer["data"]) == (200, ANSWER), content_type


async def test_other_methods_are_refused_with_the_list_of_allowed_ones(server: str) -> None:
    async with aiohttp.ClientSession() as session, session.put(f"http://{server}/graphql") as response:
        assert (response.status, response.headers["allow"]) == (405, "GET, POST")


async def test_a_refused_query_has_no_data_and_its_status_follows_the_media_type(client: Client) -> None:
    for query in ("{ unknown }", "{", "{ run(id: {}) { id } }"):
        for accept, expected in ((JSON, 200), (GRAPHQL, 400)):
            status, _, body = await client.send(accept=accept, json={"query": query})
            assert status == expected
            assert "data" not in body
            assert [error["extensions"]["code"] for error in body["errors"]] == ["BAD_REQUEST"]


async def test_a_partly_failed_query_keeps_its_data(client: Client, make: Factory) -> None:
    await make.pipeline()
    query = "{ pipelines { totalCount } run(id: 1) { id } stageRun(id: 2) { id } }"
    status, _, body = await client.send(accept=GRAPHQL, json={"query": query})
    assert (status, body["data"]) == (200, {"pipelines": {"totalCount": 1}, "run": None, "stageRun": None})


async def test_variables_and_the_operation_name_are_used(client: Client) -> None:
    request = {
        "query": "query one { __typename } query two($id: ID!) { run(id: $id) { id } }",
        "operationName": "two",
        "variables": {"id": "x"},
    }
    _, _, body = await client.send(json=request)
    assert body["data"] == {"run": None}
