"""When a failed attempt is tried again, and how long the engine waits before."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.vocabulary import FinishReason

DEFAULT_RETRY_ON = frozenset(
    {FinishReason.EXITED, FinishReason.SIGNALED, FinishReason.TIMED_OUT, FinishReason.OUT_OF_MEMORY}
)
RETRYABLE = DEFAULT_RETRY_ON | {FinishReason.START_FAILED, FinishReason.OUTPUT_REFUSED}
"""What ``retries.on`` may name: a cancelled attempt is never tried again, a lost one has a budget of its own."""

LOST_LIMIT = 3
"""How often an attempt may vanish (host or runner died) before the stage fails."""


@dataclass(frozen=True)
class RetryPolicy:
    """``limit`` further attempts after the first; delays in seconds."""

    limit: int = 0
    delay: float = 1.0
    factor: float = 2.0
    max_delay: float = 60.0
    jitter: bool = True
    on: frozenset[FinishReason] = DEFAULT_RETRY_ON

    def allows(self, reason: FinishReason, failures: int) -> bool:
        """Whether another attempt follows after ``failures`` failed ones, the last for ``reason``."""
        return reason in self.on and failures <= self.limit

    def wait_seconds(self, failures: int, chance: float) -> float:
        """Exponential back-off; ``chance`` in [0, 1) spreads it over 50 to 150 % when jitter is on."""
        exponent = min(failures - 1, 64)
        wait = min(self.max_delay, self.delay * self.factor**exponent)
        return wait * (0.5 + chance) if self.jitter else wait
