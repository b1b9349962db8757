"""Whether a failed attempt is retried, and after which wait."""

from __future__ import annotations

import pytest

from app.domain.retry import DEFAULT_RETRY_ON, RETRYABLE, RetryPolicy
from app.domain.vocabulary import FinishReason

EXITED = FinishReason.EXITED


def test_by_default_nothing_is_retried() -> None:
    assert not RetryPolicy().allows(EXITED, failures=1)


def test_the_limit_counts_the_attempts_after_the_first() -> None:
    policy = RetryPolicy(limit=2)
    assert [policy.allows(EXITED, failures) for failures in (1, 2, 3)] == [True, True, False]


def test_only_the_given_reasons_are_retried() -> None:
    policy = RetryPolicy(limit=5, on=frozenset({FinishReason.TIMED_OUT}))
    assert policy.allows(FinishReason.TIMED_OUT, failures=1)
    assert not policy.allows(EXITED, failures=1)
    assert not RetryPolicy(limit=5, on=frozenset()).allows(EXITED, failures=1)


@pytest.mark.parametrize(
    "reason", [FinishReason.CANCELLED, FinishReason.LOST, FinishReason.UPSTREAM_FAILED], ids=str
)
def test_cancelled_lost_and_skipped_stages_are_not_retried_by_policy(reason: FinishReason) -> None:
    assert reason not in RETRYABLE


def test_a_failed_start_and_refused_outputs_are_not_retried_by_default() -> None:
    assert {FinishReason.START_FAILED, FinishReason.OUTPUT_REFUSED} == RETRYABLE - DEFAULT_RETRY_ON


def test_the_wait_doubles_up_to_its_maximum() -> None:
    policy = RetryPolicy(limit=9, delay=1, factor=2, max_delay=5, jitter=False)
    assert [policy.wait_seconds(failures, 0.9) for failures in (1, 2, 3, 4, 5)] == [1, 2, 4, 5, 5]


def test_jitter_spreads_the_wait_over_half_to_one_and_a_half() -> None:
    policy = RetryPolicy(delay=10, max_delay=100)
    assert [policy.wait_seconds(1, chance) for chance in (0.0, 0.5, 1.0)] == [5, 10, 15]


def test_the_hundredth_wait_is_still_a_number() -> None:
    policy = RetryPolicy(limit=100, delay=86_400, factor=100, max_delay=86_400, jitter=False)
    assert policy.wait_seconds(100, 0) == 86_400
