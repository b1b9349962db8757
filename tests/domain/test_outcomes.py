"""The sentence about an attempt that did not succeed."""

from __future__ import annotations

import pytest

from app.domain.outcomes import AttemptOutcome, explain, signal_name
from app.domain.vocabulary import FinishReason


def test_only_exit_code_0_is_a_success() -> None:
    assert AttemptOutcome(FinishReason.EXITED, exit_code=0).succeeded
    assert not AttemptOutcome(FinishReason.EXITED, exit_code=1).succeeded
    assert not AttemptOutcome(FinishReason.EXITED).succeeded
    assert not AttemptOutcome(FinishReason.TIMED_OUT, exit_code=0).succeeded


def test_a_success_needs_no_explanation() -> None:
    assert explain(AttemptOutcome(FinishReason.EXITED, exit_code=0)) is None


@pytest.mark.parametrize("reason", FinishReason)
def test_every_other_end_is_explained_in_words(reason: FinishReason) -> None:
    text = explain(AttemptOutcome(reason))
    assert text
    assert reason.value not in text


def test_the_explanation_names_code_signal_limit_and_peak() -> None:
    assert explain(AttemptOutcome(FinishReason.EXITED, exit_code=3)) == "the command exited with code 3"
    assert explain(AttemptOutcome(FinishReason.SIGNALED, signal=11)) == "the command was killed by SIGSEGV"
    timed_out = explain(AttemptOutcome(FinishReason.TIMED_OUT), timeout_seconds=1.5)
    assert timed_out is not None
    assert timed_out.endswith("time limit of 1.5 s")
    no_memory = explain(AttemptOutcome(FinishReason.OUT_OF_MEMORY, peak_memory_bytes=309 * 1024**2))
    assert no_memory is not None
    assert no_memory.endswith("it used 309 MB")


def test_the_details_of_the_runner_follow_the_sentence() -> None:
    outcome = AttemptOutcome(FinishReason.START_FAILED, error="No such file: 'pyton'")
    assert explain(outcome) == "the command could not be started: No such file: 'pyton'"


def test_a_signal_without_a_name_is_shown_by_its_number() -> None:
    assert (signal_name(9), signal_name(200)) == ("SIGKILL", "signal 200")
