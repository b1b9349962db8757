"""The faults and requests of a seed, and their times. Nothing here depends on the machine."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass

from tests.chaos.load import PIPELINES


class FaultKind(enum.StrEnum):
    """What can happen to one of the processes, or to the database."""

    KILL_SERVER = "kill server"
    FREEZE_SERVER = "freeze server"
    KILL_WORKER = "kill worker"
    FREEZE_WORKER = "freeze worker"
    KILL_RUNNER = "kill runner"
    KILL_SHIM = "kill runner and guardian"
    FREEZE_RUNNER = "freeze runner"
    CUT_ALL = "cut all"
    RESTART_FAST = "restart postgres fast"
    RESTART_IMMEDIATE = "restart postgres immediate"


WEIGHTS = {
    FaultKind.KILL_SERVER: 1,
    FaultKind.FREEZE_SERVER: 2,
    FaultKind.KILL_WORKER: 4,
    FaultKind.FREEZE_WORKER: 5,
    FaultKind.KILL_RUNNER: 6,
    FaultKind.KILL_SHIM: 4,
    FaultKind.FREEZE_RUNNER: 6,
    FaultKind.CUT_ALL: 3,
    FaultKind.RESTART_FAST: 2,
    FaultKind.RESTART_IMMEDIATE: 2,
}


@dataclass(frozen=True)
class Fault:
    """``lot`` in [0, 1) selects one of the possible targets; ``seconds`` is how long a freeze or an outage lasts."""

    at_seconds: float
    kind: FaultKind
    lot: float
    seconds: float


@dataclass(frozen=True)
class Request:
    """Start a run of a pipeline; optionally cancel it some time after the answer, or send the request again."""

    at_seconds: float
    pipeline: str
    lot: float
    cancel_after_seconds: float | None
    is_sent_again: bool


@dataclass(frozen=True)
class Plan:
    """All faults and requests within ``seconds``, in order of time."""

    seed: int
    seconds: float
    faults: tuple[Fault, ...]
    requests: tuple[Request, ...]

    @classmethod
    def of(cls, seed: int, seconds: float) -> Plan:
        pick = random.Random(seed)
        faults = [_fault(pick, at) for at in _times(pick, seconds, 0.3, 2.0)]
        return cls(seed, seconds, tuple(faults), tuple(_requests(pick, seconds)))


def _times(pick: random.Random, seconds: float, shortest: float, longest: float) -> list[float]:
    times = [pick.uniform(shortest, longest)]
    while times[-1] < seconds:
        times.append(times[-1] + pick.uniform(shortest, longest))
    return times[:-1]


def _fault(pick: random.Random, at_seconds: float) -> Fault:
    (kind,) = pick.choices([*WEIGHTS], [*WEIGHTS.values()])
    longest = 2.0 if kind in (FaultKind.RESTART_FAST, FaultKind.RESTART_IMMEDIATE) else 5.0
    return Fault(at_seconds, kind, pick.random(), pick.uniform(0.0, longest))


def _requests(pick: random.Random, seconds: float) -> list[Request]:
    names = [*PIPELINES]
    return [
        Request(
            at_seconds=at,
            pipeline=pick.choice(names),
            lot=pick.random(),
            cancel_after_seconds=pick.uniform(0.0, 4.0) if pick.random() < 0.25 else None,
            is_sent_again=pick.random() < 0.3,
        )
        for at in _times(pick, seconds, 0.1, 1.0)
    ]
