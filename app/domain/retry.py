"""Whether a failed attempt is retried, and after which wait."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from app.domain.checker import Checker, Path
from app.domain.keys import key, number, whole
from app.domain.vocabulary import FinishReason

DEFAULT_RETRY_ON = frozenset(
    {FinishReason.EXITED, FinishReason.SIGNALED, FinishReason.TIMED_OUT, FinishReason.OUT_OF_MEMORY}
)
RETRYABLE = DEFAULT_RETRY_ON | {FinishReason.START_FAILED, FinishReason.OUTPUT_REFUSED}
"""What ``retries.on`` may name: a cancelled attempt is never retried, a lost one has its own limit."""

LOST_LIMIT = 3
"""How many attempts may be lost, because their host or runner died, before the stage fails."""

_DAY_SECONDS = 86_400


def _read_reasons(checker: Checker, value: Any, path: Path) -> frozenset[FinishReason]:
    reasons = checker.texts(value, path, of="finish reasons")
    for reason in reasons:
        if reason not in RETRYABLE:
            checker.problem(path, f"{reason!r} is not one of {', '.join(sorted(RETRYABLE))}")
    return frozenset(reason for reason in RETRYABLE if reason in reasons)


def _restore_reasons(stored: Iterable[str]) -> frozenset[FinishReason]:
    return frozenset(map(FinishReason, stored))


@dataclass(frozen=True)
class RetryPolicy:
    """``limit`` further attempts after the first; delays in seconds."""

    limit: int = field(default=0, metadata=whole(0, 100))
    delay: float = field(default=1.0, metadata=number(0, _DAY_SECONDS))
    factor: float = field(default=2.0, metadata=number(1, 100))
    max_delay: float = field(default=60.0, metadata=number(0, _DAY_SECONDS))
    jitter: bool = field(default=True, metadata=key(Checker.flag))
    on: frozenset[FinishReason] = field(
        default=DEFAULT_RETRY_ON, metadata=key(_read_reasons, _restore_reasons)
    )

    def allows(self, reason: FinishReason, failures: int) -> bool:
        """Whether another attempt follows after ``failures`` failed ones, the last for ``reason``."""
        return reason in self.on and failures <= self.limit

    def wait_seconds(self, failures: int, chance: float) -> float:
        """Exponential back-off after that many failures. With jitter, ``chance`` in [0, 1) gives 50 to 150 % of it."""
        exponent = min(failures - 1, 64)
        wait = min(self.max_delay, self.delay * self.factor**exponent)
        return wait * (0.5 + chance) if self.jitter else wait
