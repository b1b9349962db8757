"""The checks of the chaos test accept a consistent history, and find each single contradiction."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace as Row
from typing import Any

import pytest

from app.domain.vocabulary import FinishReason, RunStatus, StageStatus
from app.storage.base import blob_key
from tests.chaos.client import Promises
from tests.chaos.evidence import Evidence, Watch
from tests.chaos.invariants import miscounted, mispublished, unfinished, unkept
from tests.chaos.ledger import Entry, contradictions, crowds
from tests.chaos.streams import illegal

PIPELINE, RUN, FIRST, SECOND, HOST = (uuid.uuid4() for _ in range(5))
SHOWN = {"started_at": 1, "completed_at": 2, "execution_time": 3.0}


@dataclass
class History:
    """The rows, events, ledger and acknowledgements of a run of two stages, the first of which has two attempts."""

    evidence: Evidence
    ledger: dict[str, Entry]
    promises: Promises
    store: Path

    def found(self) -> Iterator[str]:
        yield from unkept(self.promises, self.evidence)
        yield from unfinished(self.evidence)
        yield from contradictions(self.evidence, self.ledger, {"home": HOST})
        yield from crowds(self.evidence, self.ledger, per_host=1)
        yield from illegal(self.evidence)
        yield from miscounted(self.evidence)
        yield from mispublished(self.evidence, self.store)

    @property
    def run(self) -> Any:
        return self.evidence.runs[RUN]

    @property
    def events(self) -> list[Any]:
        return self.evidence.events[RUN]  # type: ignore[return-value]

    def entry(self, stage: uuid.UUID, attempt: int = 1) -> Entry:
        return self.ledger[f"{stage}.{attempt}"]

    def attempt(self, stage: uuid.UUID, number: int = 1) -> Any:
        return self.evidence.attempts[f"{stage}.{number}"]


@pytest.fixture
def history(tmp_path: Path) -> History:
    ledger = {
        f"{FIRST}.1": Entry(f"{FIRST}.1", [10], [], "home"),
        f"{FIRST}.2": Entry(f"{FIRST}.2", [20], [30], "home", 0),
        f"{SECOND}.1": Entry(f"{SECOND}.1", [40], [50], "home", 0, {"first": f"{FIRST}.2"}),
    }
    artifacts = {}
    for stage, attempt in ((FIRST, 2), (SECOND, 1)):
        content = f"{stage}.{attempt}".encode()
        digest = hashlib.sha256(content).hexdigest()
        path = tmp_path / blob_key(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        artifacts[stage] = [
            Row(
                is_captured_log=False,
                relative_path="who.txt",
                attempt_number=attempt,
                sha256=digest,
                file_path=blob_key(digest),
            )
        ]
    evidence = Evidence(
        pipelines=[Row(id=PIPELINE, name="p", status=RunStatus.COMPLETED, **SHOWN)],
        pipeline_stages=[Row(id=SECOND, name="second", status=StageStatus.COMPLETED, **SHOWN)],
        runs={
            RUN: Row(
                id=RUN,
                pipeline_id=PIPELINE,
                idempotency_key="key",
                status=RunStatus.COMPLETED,
                success_count=2,
                failed_count=0,
                last_event_seq=12,
                cancel_requested_at=None,
                max_concurrent_stages=None,
                concurrency_key=None,
                **SHOWN,
            )
        },
        stages={
            FIRST: _stage(FIRST, "first", 2, []),
            SECOND: _stage(SECOND, "second", 1, [FIRST]),
        },
        attempts={
            f"{FIRST}.1": _attempt(FIRST, 1, FinishReason.LOST),
            f"{FIRST}.2": _attempt(FIRST, 2, FinishReason.EXITED),
            f"{SECOND}.1": _attempt(SECOND, 1, FinishReason.EXITED),
        },
        artifacts=artifacts,
        events={RUN: _events()},
    )
    return History(evidence, ledger, Promises(runs={"key": RUN}), tmp_path)


def _stage(stage_id: uuid.UUID, name: str, attempt: int, depends_on: list[uuid.UUID]) -> Row:
    return Row(
        id=stage_id,
        stage_id=stage_id,
        pipeline_run_id=RUN,
        name=name,
        phase="final",
        status=StageStatus.COMPLETED,
        attempt_number=attempt,
        depends_on=depends_on,
        allow_failure=False,
        **SHOWN,
    )


def _attempt(stage_id: uuid.UUID, number: int, reason: FinishReason) -> Row:
    code = 0 if reason is FinishReason.EXITED else None
    return Row(stage_run_id=stage_id, attempt=number, host_id=HOST, finish_reason=reason, exit_code=code)


def _events() -> list[Row]:
    events = [
        ("RUN_QUEUED", None, "PENDING", None),
        ("RUN_STARTED", None, "RUNNING", None),
        ("STAGE_CLAIMED", FIRST, "PENDING", 1),
        ("STAGE_STARTED", FIRST, "RUNNING", 1),
        ("STAGE_RETRY_SCHEDULED", FIRST, "PENDING", 1),
        ("STAGE_CLAIMED", FIRST, "PENDING", 2),
        ("STAGE_COLLECTING", FIRST, "RUNNING", 2),
        ("STAGE_FINISHED", FIRST, "COMPLETED", 2),
        ("STAGE_READIED", SECOND, "PENDING", None),
        ("STAGE_CLAIMED", SECOND, "PENDING", 1),
        ("STAGE_FINISHED", SECOND, "COMPLETED", 1),
        ("RUN_FINISHED", None, "COMPLETED", None),
    ]
    return [
        Row(
            seq=seq,
            kind=kind,
            stage_run_id=stage,
            payload={"status": status, **({"attempt": n} if n else {})},
        )
        for seq, (kind, stage, status, n) in enumerate(events, 1)
    ]


def test_a_consistent_history_is_accepted(history: History) -> None:
    assert [*history.found()] == []


CONTRADICTIONS: dict[str, Callable[[History], object]] = {
    "was started 2 times": lambda history: history.entry(FIRST, 2).begins.append(21),
    "ended 2 times": lambda history: history.entry(FIRST, 2).ends.append(31),
    "began and has no row": lambda history: history.ledger.update({f"{FIRST}.7": Entry(f"{FIRST}.7", [60])}),
    "not the host of its row": lambda history: setattr(history.attempt(FIRST), "host_id", uuid.uuid4()),
    "attempts [1, 2] of 2 completed": lambda history: vars(history.attempt(FIRST)).update(
        finish_reason=FinishReason.EXITED, exit_code=0
    ),
    "its ledger says None": lambda history: setattr(history.entry(SECOND), "exit_code", None),
    "has no end": lambda history: setattr(history.attempt(FIRST), "finish_reason", None),
    "began before first had ended": lambda history: history.entry(SECOND).begins.__setitem__(0, 25),
    "saw the outputs of": lambda history: history.entry(SECOND).saw.update(first=f"{FIRST}.1"),
    "2 stages of ('host', 'home')": lambda history: history.entry(SECOND).begins.__setitem__(0, 25),
    "2 stages of ('key', 'k')": lambda history: (
        setattr(history.run, "concurrency_key", "k"),
        history.entry(SECOND).begins.__setitem__(0, 25),
    ),
    "have gaps": lambda history: history.events.pop(3),
    "the stage was final": lambda history: setattr(history.events[8], "stage_run_id", FIRST),
    "the attempt is 2": lambda history: history.events[5].payload.update(attempt=1),
    "are not final": lambda history: history.events.__setitem__(slice(10, 12), history.events[11:9:-1]),
    "its events say FAILED": lambda history: history.events[10].payload.update(status="FAILED"),
    "its last event says FAILED": lambda history: history.events[11].payload.update(status="FAILED"),
    "it was to end": lambda history: setattr(history.events[3], "kind", "STAGE_STOP_REQUESTED"),
    "was acknowledged and is lost": lambda history: history.promises.runs.update(other=uuid.uuid4()),
    "no client asked for the runs": lambda history: history.promises.runs.clear(),
    "the cancel of run": lambda history: history.promises.cancelled.add(RUN),
    "were never answered": lambda history: setattr(history.promises, "unanswered", 1),
    "is still RUNNING": lambda history: setattr(history.run, "status", RunStatus.RUNNING),
    "counts 1 and 0": lambda history: setattr(history.run, "success_count", 1),
    "is FAILED, its stages are": lambda history: setattr(history.run, "status", RunStatus.FAILED),
    "is CANCELLED without a request": lambda history: setattr(history.run, "status", RunStatus.CANCELLED),
    "pipeline p shows": lambda history: setattr(history.evidence.pipelines[0], "started_at", 9),
    "stage second shows": lambda history: setattr(history.evidence.pipeline_stages[0], "started_at", 9),
    "has the outputs [('who.txt', 1)]": lambda history: setattr(
        history.evidence.artifacts[FIRST][0], "attempt_number", 1
    ),
    "is not what its attempt wrote": lambda history: [
        path.unlink() for path in history.store.rglob("*") if path.is_file()
    ],
}
"""The message of a check, by the change that causes it."""


@pytest.mark.parametrize("words", CONTRADICTIONS)
def test_a_contradiction_is_found(history: History, words: str) -> None:
    CONTRADICTIONS[words](history)
    assert any(words in problem for problem in history.found()), [*history.found()]


def test_a_limit_exceeded_in_any_sample_is_reported() -> None:
    watch = Watch(concurrent_runs=1, concurrent_stages=1)
    runs = [
        Row(id=number, status=RunStatus.RUNNING, concurrency_key="k", max_concurrent_stages=1)
        for number in (1, 2)
    ]
    active_stages = [Row(pipeline_run_id=1, host_id=HOST), Row(pipeline_run_id=1, host_id=HOST)]
    watch.check(runs, [], active_stages)
    watch.check(
        [Row(id=1, status=RunStatus.COMPLETED, concurrency_key=None, max_concurrent_stages=1)], [], []
    )
    watch.check([Row(id=1, status=RunStatus.FAILED, concurrency_key=None, max_concurrent_stages=1)], [], [])
    assert sorted(watch.broken)[:4] == [
        "2 runs of k were RUNNING",
        "2 runs were RUNNING at the same time",
        "2 stages of run 1 were active",
        "2 stages were active on one host",
    ]
    assert any("was final and became" in problem for problem in watch.broken)
