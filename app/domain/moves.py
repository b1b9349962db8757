"""The legal moves between statuses and phases, as data."""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.vocabulary import Phase, RunStatus, StageStatus

RUN_ACTIVE = (RunStatus.PENDING, RunStatus.RUNNING)
RUN_FINAL = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


STAGE_FINAL = frozenset(
    {StageStatus.COMPLETED, StageStatus.FAILED, StageStatus.CANCELLED, StageStatus.SKIPPED}
)


LEGAL_RUN_MOVES: Mapping[RunStatus, frozenset[RunStatus]] = {
    RunStatus.PENDING: frozenset({RunStatus.RUNNING, RunStatus.FAILED, RunStatus.CANCELLED}),
    RunStatus.RUNNING: RUN_FINAL,
    RunStatus.COMPLETED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}


LEGAL_STAGE_MOVES: Mapping[Phase, frozenset[Phase]] = {
    Phase.BLOCKED: frozenset({Phase.READY, Phase.FINAL}),
    Phase.READY: frozenset({Phase.CLAIMED, Phase.FINAL}),
    Phase.CLAIMED: frozenset({Phase.RUNNING, Phase.COLLECTING, Phase.READY, Phase.FINAL}),
    Phase.RUNNING: frozenset({Phase.COLLECTING, Phase.READY, Phase.FINAL}),
    Phase.COLLECTING: frozenset({Phase.READY, Phase.FINAL}),
    Phase.FINAL: frozenset(),
}


STATUS_OF_PHASE: Mapping[Phase, StageStatus] = {
    Phase.BLOCKED: StageStatus.PENDING,
    Phase.READY: StageStatus.PENDING,
    Phase.CLAIMED: StageStatus.PENDING,
    Phase.RUNNING: StageStatus.RUNNING,
    Phase.COLLECTING: StageStatus.RUNNING,
}
"""The public status of a stage run that is not final; a final one stores its own."""


ACTIVE_PHASES = (Phase.CLAIMED, Phase.RUNNING, Phase.COLLECTING)
"""A worker has claimed the stage run, and its attempt has not ended."""


STOPPABLE_PHASES = (Phase.CLAIMED, Phase.RUNNING)
"""The attempt has, or is about to have, a process that can be stopped."""
