"""Signed calls start runs; a caller that can't sign gets no information."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette

from app.database.tables import pipeline_runs
from app.domain.vocabulary import TriggerType
from app.errors import Conflict
from app.notifications.postgres import PostgresNotifier
from app.services.pipelines import create_pipeline
from app.services.webhooks import create_webhook, delete_webhook
from app.web.hooks import Hooks
from app.web.middleware import guards
from tests.web_server import client_of

PIPELINE = {
    "name": "deploy",
    "stages": [{"name": "only", "stageType": "CLEANUP", "config": {"command": ["true"]}}],
}
BODY = json.dumps({"ref": "refs/heads/main", "commits": [1, 2]}).encode()


@dataclass
class Sender:
    """A system that calls the webhook and knows its secret."""

    client: aiohttp.ClientSession
    engine: AsyncEngine
    webhook_id: uuid.UUID
    secret: str

    def signature(self, signed: bytes) -> str:
        return "sha256=" + hmac.new(self.secret.encode(), signed, hashlib.sha256).hexdigest()

    async def post(self, body: bytes, **headers: str) -> tuple[int, str]:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.post(f"/hooks/{self.webhook_id}", data=body, headers=names) as response:
            return response.status, await response.text()

    async def send(self, body: bytes, **headers: str) -> tuple[int, str]:
        """Signs the body, as GitHub does."""
        return await self.post(body, X_Hub_Signature_256=self.signature(body), **headers)

    async def send_dated(self, body: bytes, delivery: str, age_seconds: float = 0) -> tuple[int, str]:
        timestamp = str(int(time.time() - age_seconds))
        signature = self.signature(f"{delivery}.{timestamp}.".encode() + body)
        return await self.post(
            body, X_Hub_Signature_256=signature, X_Hook_Timestamp=timestamp, X_Delivery_Id=delivery
        )

    async def runs(self) -> list[Any]:
        async with self.engine.connect() as connection:
            return list((await connection.execute(sa.select(pipeline_runs))).all())


@pytest.fixture
async def sender(engine: AsyncEngine, database_url: str) -> AsyncIterator[Sender]:
    pipeline_id = await create_pipeline(engine, PIPELINE)
    webhook_id, secret = await create_webhook(engine, pipeline_id, "git")
    async with PostgresNotifier(database_url) as notifier:
        app = Starlette(
            routes=Hooks(engine, notifier, "test").routes(),
            middleware=guards(allowed_hosts=["127.0.0.1"], token="t" * 40),
        )
        async with client_of(app) as client:
            yield Sender(client, engine, webhook_id, secret)


async def test_a_signed_call_starts_a_run_with_its_payload(sender: Sender) -> None:
    status, text = await sender.send(BODY, X_GitHub_Delivery="one")
    (run,) = await sender.runs()
    assert (status, json.loads(text)) == (202, {"runId": str(run.id)})
    assert (run.trigger_type, run.triggered_by) == (TriggerType.WEBHOOK, "webhook git")
    assert run.run_config == {"params": {"webhook": json.loads(BODY)}}
    assert run.environment == "test"


async def test_a_repeated_delivery_starts_no_second_run_and_a_call_without_id_always_starts_one(
    sender: Sender,
) -> None:
    first = await sender.send(BODY, X_Delivery_Id="one")
    assert await sender.send(BODY, X_Delivery_Id="one") == first
    assert await sender.send(BODY, X_Delivery_Id="two") != first
    await sender.send(b"")
    await sender.send(b"")
    assert len(await sender.runs()) == 4


async def test_an_unknown_webhook_and_a_wrong_signature_get_the_same_response(sender: Sender) -> None:
    good = sender.signature(BODY)
    answers = {
        await sender.post(BODY),
        await sender.post(BODY, X_Hub_Signature_256="sha256=" + "0" * 64),
        await sender.post(BODY, X_Hub_Signature_256=good.removeprefix("sha256=")),
        await sender.post(BODY + b" ", X_Hub_Signature_256=good),
        await sender.post(BODY, X_Hub_Signature_256=good, X_Hook_Timestamp=str(int(time.time()))),
        await sender.post(b"not json", X_Hub_Signature_256=good),
    }
    sender.webhook_id = uuid.uuid4()
    answers.add(await sender.post(BODY, X_Hub_Signature_256=good))
    async with sender.client.post("/hooks/nothing", data=BODY) as response:
        answers.add((response.status, await response.text()))
    assert answers == {(404, "Not Found")}
    assert await sender.runs() == []


async def test_a_deleted_webhook_is_not_found(sender: Sender) -> None:
    await delete_webhook(sender.engine, sender.webhook_id)
    assert await sender.send(BODY) == (404, "Not Found")


async def test_a_call_with_a_timestamp_is_accepted_once_and_within_five_minutes(sender: Sender) -> None:
    status, text = await sender.send_dated(BODY, "one")
    assert status == 202
    assert await sender.send_dated(BODY, "one", age_seconds=10) == (202, text)
    assert await sender.send_dated(BODY, "two", age_seconds=400) == (404, "Not Found")
    assert await sender.send_dated(BODY, "two", age_seconds=-400) == (404, "Not Found")
    status, text = await sender.send_dated(BODY, "")
    assert (status, "X-Delivery-Id" in text) == (422, True)
    assert len(await sender.runs()) == 1


async def test_the_delivery_id_of_a_call_with_a_timestamp_is_signed(sender: Sender) -> None:
    timestamp = str(int(time.time()))
    signature = sender.signature(f"one.{timestamp}.".encode() + BODY)
    answer = await sender.post(
        BODY, X_Hub_Signature_256=signature, X_Hook_Timestamp=timestamp, X_Delivery_Id="two"
    )
    assert answer == (404, "Not Found")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[1]", "must be a JSON object"),
        (b"a=1", "not JSON"),
        (b"[" * 50_000, "nested deeper"),
        (b'{"a": "' + b"x" * 70_000 + b'"}', "larger than 65536 bytes"),
        (b"\xff\xfe", "not"),
    ],
)
async def test_a_signed_call_whose_body_is_not_a_small_object_is_refused_with_a_reason(
    sender: Sender, body: bytes, message: str
) -> None:
    status, text = await sender.send(body)
    assert (status, message in text) == (422, True)


async def test_a_body_of_more_than_a_megabyte_is_not_read(sender: Sender) -> None:
    body = b" " * 1_100_000
    headers = {"X-Hub-Signature-256": sender.signature(body)}
    address = f"/hooks/{sender.webhook_id}"
    async with sender.client.post(address, data=io.BytesIO(body), headers=headers) as response:
        assert response.status == 413


async def test_other_host_names_are_refused_and_other_paths_require_the_token(sender: Sender) -> None:
    status, _ = await sender.send(BODY, Host="rebind.evil")
    assert status == 400
    async with sender.client.post("/graphql") as response:
        assert response.status == 401
    async with sender.client.get(f"/hooks/{sender.webhook_id}") as response:
        assert response.status == 401


async def test_two_webhooks_of_a_pipeline_have_different_names(engine: AsyncEngine) -> None:
    pipeline_id = await create_pipeline(engine, PIPELINE)
    await create_webhook(engine, pipeline_id, "git")
    with pytest.raises(Conflict):
        await create_webhook(engine, pipeline_id, "git")
