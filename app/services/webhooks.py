"""Webhooks: other systems start runs of one pipeline by signed calls.

Checking an HMAC takes the secret itself, so the row holds it: a reader of the database can sign calls. It has no other
use: 256 random bits, shown once, read only to check a call.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.columns import new_id
from app.database.tables import webhooks
from app.domain.text import read_json_object
from app.domain.vocabulary import TriggerType
from app.errors import Conflict, DomainError, NotFound
from app.notifications.notifier import Notifier
from app.services.checks import check_name
from app.services.pipelines import hold_pipeline, no_pipeline
from app.services.runs import StartRun, start_run

NAME_LIMIT = 200
DELIVERY_LIMIT = 150
PAYLOAD_LIMIT_BYTES = 64 * 1024
"""The payload is stored with the run and passed to each of its stages."""

CLOCK_TOLERANCE_SECONDS = 300
_SECRET_OF_NO_WEBHOOK = secrets.token_hex(32)


@dataclass(frozen=True)
class Call:
    """What a sender says; ``signature`` is ``sha256=`` and 64 hexadecimal digits.

    Without ``timestamp`` (seconds since 1970) the body is signed, as GitHub does. With it
    ``<delivery>.<timestamp>.<body>`` is, so that an old call can't be sent again.
    """

    body: bytes
    signature: str
    delivery: str = ""
    timestamp: str | None = None

    @property
    def signed(self) -> bytes:
        if self.timestamp is None:
            return self.body
        return f"{self.delivery}.{self.timestamp}.".encode() + self.body


async def create_webhook(engine: AsyncEngine, pipeline_id: uuid.UUID, name: str) -> tuple[uuid.UUID, str]:
    """The id and the secret of a new webhook; the secret is not shown again."""
    check_name(name, NAME_LIMIT)
    webhook_id, secret = new_id(), secrets.token_hex(32)
    row = {"id": webhook_id, "pipeline_id": pipeline_id, "name": name, "secret": secret}
    try:
        async with engine.begin() as connection:
            if await hold_pipeline(connection, pipeline_id) is None:
                raise no_pipeline(pipeline_id)
            await connection.execute(sa.insert(webhooks).values(row))
    except IntegrityError:
        message = f"name: the pipeline already has a webhook {name!r}; choose another"
        raise Conflict(message, path=("name",)) from None
    return webhook_id, secret


async def delete_webhook(engine: AsyncEngine, webhook_id: uuid.UUID) -> None:
    """Calls are refused from now on; the runs they started stay."""
    async with engine.begin() as connection:
        deleted = await connection.execute(sa.delete(webhooks).where(webhooks.c.id == webhook_id))
    if deleted.rowcount == 0:
        raise NotFound(f"there is no webhook {webhook_id}", path=("webhookId",))


async def receive(
    engine: AsyncEngine, notifier: Notifier, webhook_id: uuid.UUID, call: Call, environment: str | None
) -> uuid.UUID:
    """The run that the call starts, or the run that the same delivery started before.

    Raises the same ``NotFound`` if the webhook does not exist and if the call is not signed with its secret.
    """
    statement = sa.select(webhooks).where(webhooks.c.id == webhook_id)
    async with engine.connect() as connection:
        webhook = (await connection.execute(statement)).one_or_none()
    secret = _SECRET_OF_NO_WEBHOOK if webhook is None else webhook.secret
    if not (_is_signed(call, secret) and _is_timely(call)) or webhook is None:
        raise NotFound("there is no such webhook, or the call is not signed with its secret")
    return await start_run(engine, notifier, _request(webhook, call, environment))


def _is_signed(call: Call, secret: str) -> bool:
    expected = "sha256=" + hmac.new(secret.encode(), call.signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), call.signature.encode())


def _is_timely(call: Call) -> bool:
    if call.timestamp is None:
        return True
    is_number = call.timestamp.isascii() and call.timestamp.isdigit() and len(call.timestamp) <= 12
    return is_number and abs(time.time() - int(call.timestamp)) <= CLOCK_TOLERANCE_SECONDS


def _request(webhook: sa.Row[Any], call: Call, environment: str | None) -> StartRun:
    if len(call.delivery) > DELIVERY_LIMIT:
        raise DomainError(f"the delivery id has more than {DELIVERY_LIMIT} characters")
    if call.timestamp is not None and not call.delivery:
        raise DomainError("a call with X-Hook-Timestamp needs an X-Delivery-Id too")
    payload: Mapping[str, Any] = read_json_object(
        call.body or b"{}", name="the body", max_bytes=PAYLOAD_LIMIT_BYTES
    )
    return StartRun(
        pipeline_id=webhook.pipeline_id,
        run_config={"params": {"webhook": payload}},
        environment=environment,
        triggered_by=f"webhook {webhook.name}",
        idempotency_key=f"webhook {webhook.id} {call.delivery}" if call.delivery else None,
        trigger_type=TriggerType.WEBHOOK,
    )
