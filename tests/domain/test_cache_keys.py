"""Two keys are equal exactly if all their parts are, and every difference has a summary."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from app.domain.cache.keys import KeyPart, cache_key, digest_of, key_changes
from app.domain.cache.misses import CHANGES_LIMIT, CacheMiss, MissReason, changed_since
from app.domain.keys import from_json
from app.domain.specs import StageConfig

SPEC: dict[str, Any] = {
    "command": ["python", "train.py"],
    "workdir": "/srv",
    "env": {"TOKEN": "hunter2", "OMP": "2"},
    "params": {"lr": 0.1, "model": {"depth": 3}},
    "cache": {"version": "", "files": None, "use": True},
    "timeoutSeconds": 60,
}
FILES = {"train.py": "f" * 64}
INPUTS = [("split", "datasets/d.csv", "1" * 64)]


CONFIG = from_json(StageConfig, SPEC)


def key(**changes: Any) -> dict[str, Any]:
    return cache_key(from_json(StageConfig, {**deepcopy(SPEC), **changes}), FILES, INPUTS)


def summaries(after: dict[str, Any]) -> list[str]:
    return [change.summary for change in key_changes(key(), after)]


def test_equal_specs_have_equal_digests_whatever_the_order_of_their_members() -> None:
    turned = {name: SPEC["params"][name] for name in reversed(SPEC["params"])}
    assert digest_of(key()) == digest_of(key(params=turned))
    assert len(digest_of(key())) == 64
    assert summaries(key(params=turned)) == []


def test_limits_and_retries_are_not_in_the_key() -> None:
    assert digest_of(key(timeoutSeconds=1, retries={"limit": 9})) == digest_of(key())


CHANGED: dict[str, tuple[Callable[[], dict[str, Any]], list[str]]] = {
    "param": (
        lambda: key(params={**SPEC["params"], "lr": 0.2}),
        ["params.lr changed from 0.1 to 0.2"],
    ),
    "type of a param": (
        lambda: key(params={**SPEC["params"], "lr": "0.1"}),
        ['params.lr changed from 0.1 to "0.1"'],
    ),
    "nested param": (
        lambda: key(params={"lr": 0.1, "model": {"depth": 4}}),
        ['params.model changed from {"depth": 3} to {"depth": 4}'],
    ),
    "less params": (lambda: key(params={"lr": 0.1}), ["params.model was removed"]),
    "a param that is null": (
        lambda: key(params={**SPEC["params"], "seed": None}),
        ["params.seed was added"],
    ),
    "command": (lambda: key(command=["python", "-O", "train.py"]), ["command changed"]),
    "workdir": (lambda: key(workdir="/opt"), ['workdir changed from "/srv" to "/opt"']),
    "env": (lambda: key(env={"TOKEN": "hunter3", "OMP": "2"}), ["env.TOKEN changed"]),
    "version": (
        lambda: key(cache={"version": "2", "files": None, "use": True}),
        ['version changed from "" to "2"'],
    ),
    "file": (
        lambda: cache_key(CONFIG, {"train.py": "e" * 64}, INPUTS),
        ["file train.py changed"],
    ),
    "no file": (lambda: cache_key(CONFIG, {}, INPUTS), ["file train.py was removed"]),
    "input": (
        lambda: cache_key(CONFIG, FILES, [("split", "datasets/d.csv", "2" * 64)]),
        ["input split/datasets/d.csv changed"],
    ),
    "more inputs": (
        lambda: cache_key(CONFIG, FILES, [*INPUTS, ("clean", "x", "3" * 64)]),
        ["input clean/x was added"],
    ),
}


@pytest.mark.parametrize("what", CHANGED)
def test_every_difference_changes_the_digest_and_is_named(what: str) -> None:
    make, expected = CHANGED[what]
    assert digest_of(make()) != digest_of(key())
    assert summaries(make()) == expected


def test_values_of_variables_are_neither_in_a_key_nor_in_its_changes() -> None:
    after = key(env={"TOKEN": "hunter3"})
    shown = str([key(), after, [change.summary for change in key_changes(key(), after)]])
    assert "hunter" not in shown


def test_an_older_format_is_a_change() -> None:
    old = {**key(), KeyPart.FORMAT.value: 0}
    assert [change.part for change in key_changes(old, key())] == [KeyPart.FORMAT]


def test_a_long_value_is_cut() -> None:
    (summary,) = summaries(key(params={**SPEC["params"], "lr": "x" * 5000}))
    assert len(summary) < 200


def test_a_miss_survives_its_way_through_json() -> None:
    miss = changed_since(key(), key(params={}, workdir=None))
    assert CacheMiss.from_json(miss.as_json()) == miss
    assert miss.reason is MissReason.CHANGED


def test_a_miss_names_a_few_changes_and_counts_the_rest() -> None:
    miss = changed_since(key(), key(params={**SPEC["params"], **{f"p{n:02}": n for n in range(30)}}))
    assert (len(miss.changes), miss.change_count) == (CHANGES_LIMIT, 30)
    assert miss.summary == (
        "since its last execution params.p00 was added; params.p01 was added; params.p02 was added; "
        "params.p03 was added; params.p04 was added; and 25 more"
    )


def test_an_equal_key_without_a_result_means_that_files_changed_during_the_execution() -> None:
    assert changed_since(key(), key()).reason is MissReason.FILES_CHANGED_MEANWHILE


@pytest.mark.parametrize("reason", sorted(set(MissReason) - {MissReason.CHANGED}))
def test_every_reason_has_a_sentence(reason: MissReason) -> None:
    assert len(CacheMiss(reason).summary) > 20
