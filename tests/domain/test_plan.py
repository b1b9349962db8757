"""The graph of stages: their order, what depends on a stage, and the outcome of a run."""

from __future__ import annotations

import itertools
import random

import pytest

from app.domain.plan import CycleFound, downstream, outcome, topological_order
from app.domain.vocabulary import FinishReason, RunStatus, StageStatus

COMPLETED, FAILED = StageStatus.COMPLETED, StageStatus.FAILED
CANCELLED, SKIPPED = StageStatus.CANCELLED, StageStatus.SKIPPED
DIAMOND = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "alone": ()}


def ended(*statuses: StageStatus, allowed: bool = False, cancelled: bool = False) -> RunStatus:
    return outcome([(status, allowed) for status in statuses], cancelled=cancelled, stopped_by=None)


def test_every_stage_comes_after_all_it_depends_on() -> None:
    numbers = random.Random(7)
    names = [str(n) for n in range(300)]
    needs = {
        name: numbers.sample(names[:index], min(index, numbers.randrange(4)))
        for index, name in enumerate(names)
    }
    shuffled = dict(numbers.sample(list(needs.items()), len(needs)))
    place = {name: index for index, name in enumerate(topological_order(shuffled))}
    assert len(place) == 300
    assert all(place[other] < place[name] for name, others in needs.items() for other in others)


def test_a_cycle_is_shown_from_a_stage_to_its_dependencies() -> None:
    needs = {"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}
    with pytest.raises(CycleFound) as found:
        topological_order(needs)
    path = found.value.path
    assert path[0] == path[-1]
    assert all(other in needs[name] for name, other in itertools.pairwise(path))


def test_a_long_cycle_is_shown_without_its_middle() -> None:
    with pytest.raises(CycleFound) as found:
        topological_order({str(n): [str((n + 1) % 100)] for n in range(100)})
    assert len(found.value.path) == 101
    assert str(found.value).count(" -> ") == 19
    assert "(82 more)" in str(found.value)


def test_everything_that_depends_on_a_stage_is_found_once() -> None:
    assert downstream("a", DIAMOND) == ["b", "c", "d"]
    assert downstream("b", DIAMOND) == ["d"]
    assert downstream("alone", DIAMOND) == []


def test_a_chain_of_100000_is_followed_without_recursion() -> None:
    chain = {n: [n - 1] if n else [] for n in range(100_000)}
    assert len(downstream(0, chain)) == 99_999


def test_stacked_diamonds_are_followed_in_linear_time() -> None:
    """The number of paths doubles with each layer."""
    needs: dict[str, list[str]] = {"end 0": []}
    for layer in range(1, 200):
        above = f"end {layer - 1}"
        needs |= {f"left {layer}": [above], f"right {layer}": [above]}
        needs[f"end {layer}"] = [f"left {layer}", f"right {layer}"]
    assert len(downstream("end 0", needs)) == 3 * 199


def test_a_run_is_completed_if_all_its_stages_are() -> None:
    assert ended(COMPLETED, COMPLETED) is RunStatus.COMPLETED


def test_one_failure_fails_the_run() -> None:
    assert ended(COMPLETED, FAILED, SKIPPED, CANCELLED) is RunStatus.FAILED
    assert ended(FAILED, CANCELLED, cancelled=True) is RunStatus.FAILED


def test_an_allowed_failure_does_not_fail_the_run() -> None:
    assert ended(COMPLETED, FAILED, allowed=True) is RunStatus.COMPLETED


def test_a_cancel_counts_only_if_it_stopped_something() -> None:
    assert ended(COMPLETED, CANCELLED, cancelled=True) is RunStatus.CANCELLED
    assert ended(COMPLETED, COMPLETED, cancelled=True) is RunStatus.COMPLETED


def test_a_run_that_reached_its_time_limit_failed_even_if_every_stage_completed() -> None:
    stages = [(COMPLETED, False)]
    assert outcome(stages, cancelled=True, stopped_by=FinishReason.TIMED_OUT) is RunStatus.FAILED
