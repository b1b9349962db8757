"""``Run.outputData``: what the stages of a run reported, by the name of the stage."""

from __future__ import annotations

import pytest

from app.domain.vocabulary import RunStatus
from app.services.retries import retry_run
from app.services.state import results
from tests.moved_runs import ByHand, stage


async def test_a_run_that_has_ended_holds_what_its_completed_stages_reported(by_hand: ByHand) -> None:
    stages = [stage("load"), stage("silent", ["load"]), stage("train", ["load"]), stage("bad", ["train"])]
    run_id = await by_hand.started(*stages)
    await by_hand.complete(await by_hand.claimed("load"), output_data={"rows": 344})
    await by_hand.complete(await by_hand.claimed("silent"))
    await by_hand.complete(await by_hand.claimed("train"), output_data={"score": 0.5, "notes": ["ä\u2028"]})
    assert (await by_hand.run(run_id)).output_data is None
    await by_hand.fail(await by_hand.claimed("bad"))
    run = await by_hand.run(run_id)
    assert (run.status, run.output_data) == (
        RunStatus.FAILED,
        {"load": {"rows": 344}, "train": {"score": 0.5, "notes": ["ä\u2028"]}},
    )


async def test_a_run_whose_stages_reported_nothing_holds_nothing(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"))
    await by_hand.complete_all()
    run = await by_hand.run(run_id)
    assert (run.status, run.output_data) == (RunStatus.COMPLETED, None)


async def test_a_cancelled_run_holds_what_was_reported_before(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"), stage("b", ["a"]))
    await by_hand.complete(await by_hand.claimed("a"), output_data={"x": 1})
    await by_hand.cancel(run_id)
    run = await by_hand.run(run_id)
    assert (run.status, run.output_data) == (RunStatus.CANCELLED, {"a": {"x": 1}})


async def test_results_that_a_retry_reuses_are_among_its_own(by_hand: ByHand) -> None:
    run_id = await by_hand.started(stage("a"), stage("b", ["a"]))
    await by_hand.complete(await by_hand.claimed("a"), output_data={"x": 1})
    await by_hand.fail(await by_hand.claimed("b"))
    again = await retry_run(by_hand.engine, by_hand.notifier, run_id, from_failed=True)
    assert await by_hand.begin() == again
    await by_hand.complete(await by_hand.claimed("b"), output_data={"y": 2})
    assert (await by_hand.run(again)).output_data == {"a": {"x": 1}, "b": {"y": 2}}


async def test_results_that_are_too_large_together_are_null_from_there_on(by_hand: ByHand) -> None:
    names = ["a", "b", "c"]
    run_id = await by_hand.started(*map(stage, names), stage("last", names))
    for name in names:
        row = await by_hand.claimed(name)
        await by_hand.complete(row, output_data={"text": name * (results.RESULTS_LIMIT_BYTES // 2 - 100)})
    await by_hand.complete(await by_hand.claimed("last"), output_data={"x": 1})
    found = (await by_hand.run(run_id)).output_data
    assert {name: result is not None for name, result in found.items()} == {
        "a": True,
        "b": True,
        "c": False,
        "last": False,
    }


async def test_results_are_not_even_read_beyond_a_size_as_stored(
    by_hand: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_STORED_LIMIT_BYTES", 100)
    run_id = await by_hand.started(stage("a"), stage("b"), stage("c"))
    for name, length in (("a", 10), ("b", 200), ("c", 10)):
        await by_hand.complete(await by_hand.claimed(name), output_data={"text": "x" * length})
    assert (await by_hand.run(run_id)).output_data == {"a": {"text": "x" * 10}, "b": None, "c": None}
