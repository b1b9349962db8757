"""The legal moves as data: nothing leaves a final status, everything can reach one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from app.domain.moves import LEGAL_RUN_MOVES, LEGAL_STAGE_MOVES, RUN_FINAL, STAGE_FINAL, STATUS_OF_PHASE
from app.domain.vocabulary import EXPECTED_ARTIFACTS, Phase, RunStatus, StageStatus, StageType


def reachable(moves: Mapping[Any, frozenset[Any]], start: Any) -> set[Any]:
    found = {start}
    while fresh := {after for state in found for after in moves[state]} - found:
        found |= fresh
    return found


def test_every_status_and_phase_has_its_moves() -> None:
    assert set(LEGAL_RUN_MOVES) == set(RunStatus)
    assert set(LEGAL_STAGE_MOVES) == set(Phase)


def test_nothing_leaves_a_final_status() -> None:
    assert all(not LEGAL_RUN_MOVES[status] for status in RUN_FINAL)
    assert not LEGAL_STAGE_MOVES[Phase.FINAL]


@pytest.mark.parametrize("phase", sorted(set(Phase) - {Phase.FINAL}), ids=str)
def test_every_phase_leads_to_an_end(phase: Phase) -> None:
    assert Phase.FINAL in LEGAL_STAGE_MOVES[phase]


def test_every_status_and_phase_can_be_reached() -> None:
    assert reachable(LEGAL_RUN_MOVES, RunStatus.PENDING) == set(RunStatus)
    assert reachable(LEGAL_STAGE_MOVES, Phase.BLOCKED) == set(Phase)


def test_a_waiting_run_can_be_cancelled_or_wait_too_long_but_not_complete() -> None:
    assert LEGAL_RUN_MOVES[RunStatus.PENDING] == {RunStatus.RUNNING, RunStatus.FAILED, RunStatus.CANCELLED}


def test_nothing_runs_that_was_not_claimed() -> None:
    before_running = {phase for phase, moves in LEGAL_STAGE_MOVES.items() if Phase.RUNNING in moves}
    assert before_running == {Phase.CLAIMED}


def test_every_phase_but_the_final_one_has_a_public_status_that_is_not_final() -> None:
    assert set(STATUS_OF_PHASE) == set(Phase) - {Phase.FINAL}
    assert not set(STATUS_OF_PHASE.values()) & STAGE_FINAL
    assert set(StageStatus) == STAGE_FINAL | set(STATUS_OF_PHASE.values())


def test_every_stage_type_has_expected_artifacts() -> None:
    assert set(EXPECTED_ARTIFACTS) == set(StageType)
