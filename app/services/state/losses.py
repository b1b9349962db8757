"""An active attempt of a host that no longer reports: back to ready (it is tried again), or FAILED."""

from __future__ import annotations

import uuid

from sqlalchemy.ext.asyncio import AsyncEngine

from app.database.claims import may_declare_losses
from app.database.reads.attempts import evidence_of_loss
from app.domain import messages
from app.domain.attempts import AttemptKey
from app.domain.moves import ACTIVE_PHASES
from app.domain.outcomes import AttemptOutcome
from app.domain.vocabulary import FinishReason
from app.notifications.notifier import Notifier
from app.services.state.attempt_reports import fail_attempt
from app.services.state.claims import claims_transaction
from app.services.state.outputs import StageOutputs
from app.services.state.run_transaction import lock_run, worker_actor


async def declare_lost(
    engine: AsyncEngine,
    notifier: Notifier,
    worker_id: uuid.UUID,
    key: AttemptKey,
    *,
    lost_after_seconds: float,
    lease_seconds: float,
) -> bool:
    """Ends another host's attempt as LOST: the stage run is tried again, or fails.

    Only if no worker of that host has had a live lease for ``lost_after_seconds``. The attempt's processes may still
    run there: their reports are refused from now on, and their host ends them when it comes back.
    """
    async with claims_transaction(engine) as connection:
        if not await may_declare_losses(connection, worker_id, lease_seconds):
            return False
        transaction = await lock_run(connection, key.run_id)
        stage = await transaction.stage(key.stage_run_id, key.number, ACTIVE_PHASES)
        sign = await evidence_of_loss(connection, key, lost_after_seconds)
        if stage is None or sign is None:
            return False
        error = messages.host_is_silent(sign["hostName"], lost_after_seconds)
        outcome = AttemptOutcome(FinishReason.LOST, error=error, evidence=sign, processes_are_gone=False)
        await fail_attempt(transaction, stage, outcome, StageOutputs(), actor=worker_actor(worker_id))
        await transaction.flush()
    notifier.publish(*transaction.topics)
    return True
