"""A server with a list of trusted documents executes only these, over HTTP and websockets."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from graphql import get_introspection_query

from app.errors import StartupError
from app.graphql.schema import build_schema
from app.graphql.serving import documents
from app.graphql.serving.media import GRAPHQL_RESPONSE
from app.graphql.serving.view import GraphQLView
from app.graphql.shared.context import ContextFactory
from tests.factories import Factory
from tests.graphql.conftest import browser_page, configured_schema, serving
from tests.graphql.test_websocket import initialised, receive, send

PIPELINES = "query Pipelines($first: Int) { pipelines(first: $first) { nodes { name } } }"
TICKS = "subscription Ticks { systemSamples { cpuPercent } }"
DELETE = 'mutation Delete { deletePipeline(input: {pipelineId: "1"}) { errors { code } } }'
LONG = PIPELINES + "#" + "x" * 5000
ANSWER = {"pipelines": {"nodes": [{"name": "penguins"}]}}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def persisted(text: str, prefix: str = "") -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": prefix + sha256(text)}}


def write(folder: Path, entries: object) -> Path:
    path = folder / "trusted.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


@pytest.fixture
async def trusting(contexts: ContextFactory, tmp_path: Path, make: Factory) -> AsyncIterator[str]:
    """The address of a server that trusts a few documents; its database contains a pipeline."""
    await make.pipeline()
    entries = {"sha256:" + sha256(text): text for text in (PIPELINES, TICKS, DELETE, LONG)}
    schema = configured_schema(write(tmp_path, entries))
    async with serving(GraphQLView(schema, contexts, page=browser_page)) as address:
        yield address


async def post(address: str, *, accept: str = GRAPHQL_RESPONSE, **body: Any) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{address}/graphql", json=body, headers={"accept": accept}) as response,
    ):
        return response.status, json.loads(await response.read())


async def get(address: str, **parameters: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"http://{address}/graphql", params=parameters, headers={"accept": "text/html"}
        ) as response,
    ):
        return response.status, json.loads(await response.read())


@pytest.mark.parametrize(
    "body",
    [
        {"documentId": "sha256:" + sha256(PIPELINES)},
        {"documentId": sha256(PIPELINES)},
        {"documentId": sha256(LONG)},
        {"extensions": persisted(PIPELINES)},
        {"extensions": persisted(PIPELINES, "sha256:")},
        {"query": "", "documentId": sha256(PIPELINES)},
        {"query": "{ __schema { description } }", "documentId": sha256(PIPELINES)},
        {"query": PIPELINES},
        {"documentId": sha256(PIPELINES), "variables": {"first": 1}, "operationName": "Pipelines"},
    ],
    ids=lambda body: " ".join(body),
)
async def test_a_trusted_document_is_executed_by_text_or_by_any_identifier(
    trusting: str, body: dict[str, Any]
) -> None:
    status, answer = await post(trusting, **body)
    assert (status, answer["data"]) == (200, ANSWER)


async def test_a_trusted_document_may_be_named_in_the_url(trusting: str) -> None:
    by_hash = await get(trusting, documentId=sha256(PIPELINES), variables='{"first": 1}')
    by_extension = await get(trusting, extensions=json.dumps(persisted(PIPELINES)))
    assert by_hash[1]["data"] == by_extension[1]["data"] == ANSWER
    status, answer = await get(trusting, documentId=sha256(DELETE))
    assert (status, "data" in answer) == (400, False)


@pytest.mark.parametrize(
    "body",
    [
        {"query": "{ pipelines { nodes { name } } }"},
        {"query": PIPELINES + " "},
        {"query": "{"},
        {"query": get_introspection_query()},
        {"query": "{ pipelines { nodes { name } } }", "operationName": "Pipelines"},
        {"documentId": sha256("another")},
        {"documentId": "sha256:sha256:" + sha256(PIPELINES)},
        {"documentId": sha256(PIPELINES).upper()},
        {"documentId": sha256("another"), "query": PIPELINES},
        {"documentId": "{ __typename }"},
        {"query": "{ __typename }", "extensions": persisted("{ __typename }")},
    ],
    ids=lambda body: " ".join(body),
)
async def test_any_other_document_is_refused_before_it_is_parsed(
    trusting: str, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parsed: list[str] = []
    monkeypatch.setattr(documents, "parse", lambda query, **options: parsed.append(query))
    with caplog.at_level(logging.WARNING):
        status, answer = await post(trusting, **body)
        async with initialised(trusting) as socket:
            await send(socket, type="subscribe", id="1", payload=body)
            message = await receive(socket)
    (error,) = answer["errors"]
    assert (status, error["extensions"]) == (400, {"code": "DOCUMENT_NOT_TRUSTED"})
    assert "data" not in answer
    assert (message["type"], message["payload"]) == ("error", [error])
    assert parsed == []
    assert caplog.records == []


async def test_clients_of_plain_json_get_the_refusal_with_status_200(trusting: str) -> None:
    status, answer = await post(trusting, accept="application/json", query="{ __typename }")
    assert (status, answer["errors"][0]["extensions"]["code"]) == (200, "DOCUMENT_NOT_TRUSTED")


@pytest.mark.parametrize(
    "body", [{}, {"documentId": 5}, {"documentId": None}, {"extensions": {"persistedQuery": 1}}]
)
async def test_a_request_without_a_document_is_refused_with_a_reason(
    trusting: str, body: dict[str, Any]
) -> None:
    status, answer = await post(trusting, **body)
    assert (status, answer["errors"][0]["message"]) == (400, "No GraphQL query found in the request")


@pytest.mark.parametrize(
    "named",
    [
        {"documentId": sha256(TICKS)},
        {"query": "", "extensions": persisted(TICKS)},
        {"query": "subscription { __typename }", "extensions": persisted(TICKS, "sha256:")},
        {"query": TICKS},
    ],
    ids=lambda named: " ".join(named),
)
async def test_a_trusted_subscription_streams(trusting: str, named: dict[str, Any]) -> None:
    async with initialised(trusting) as socket:
        await send(socket, type="subscribe", id="refused", payload={"query": "{ __typename }"})
        await send(socket, type="subscribe", id="ticks", payload=named)
        messages = [await receive(socket) for _ in range(3)]
    assert [(message["id"], message["type"]) for message in messages] == [
        ("refused", "error"),
        ("ticks", "next"),
        ("ticks", "next"),
    ]


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ("{", "this is not JSON"),
        ("[" * 100_000, "this is not JSON"),
        ([], "a JSON object of documents"),
        ({}, "with at least one entry"),
        ({sha256(TICKS): 5}, "the document must be a text"),
        ({"Ticks": TICKS}, "Ticks: the key must be the hexadecimal SHA-256"),
        ({sha256(PIPELINES): TICKS}, f"{sha256(PIPELINES)[:19]}: the key is not the hash of the document"),
        ({sha256("{ a"): "{ a"}, f"{sha256('{ a')[:19]}: Syntax Error: Expected Name, found <EOF>."),
        ({sha256("{ runz }"): "{ runz }"}, "Cannot query field 'runz' on type 'Query'."),
    ],
)
def test_a_list_with_an_error_is_refused_at_the_start(tmp_path: Path, entries: object, problem: str) -> None:
    path = write(tmp_path, entries)
    with pytest.raises(StartupError) as refused:
        build_schema(path)
    assert str(refused.value).startswith(f"MLP_TRUSTED_DOCUMENTS={path}: ")
    assert problem in str(refused.value)


def test_a_missing_list_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="No such file"):
        build_schema(tmp_path / "trusted.json")


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_lists_of_relay_and_of_older_code_generators_are_read(tmp_path: Path, algorithm: str) -> None:
    key = hashlib.new(algorithm, TICKS.encode()).hexdigest()
    request = build_schema(write(tmp_path, {key: TICKS})).with_document({"documentId": key})
    assert request["query"] == TICKS
