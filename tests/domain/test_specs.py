"""The execution spec of an attempt: what it merges, and how it is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.domain.cache_policy import CachePolicy
from app.domain.keys import from_json, to_json
from app.domain.retry import RetryPolicy
from app.domain.specs import (
    PipelineConfig,
    Resources,
    RunConfig,
    StageConfig,
    StageOverrides,
    StageSpec,
    execution_spec,
    readable_config,
)
from app.domain.vocabulary import ExecutorType, FinishReason, StageType

TRAIN = StageSpec("train", StageType.MODEL_TRAINING, None, 0, (), {}, StageConfig(("true",)))


def test_the_nearest_parameter_wins() -> None:
    every = {"stage run": 0, "run": 0, "stage": 0, "pipeline": 0}
    pipeline = PipelineConfig(params=every)
    stage = replace(
        TRAIN, config=StageConfig(("true",), params={key: 1 for key in every if key != "pipeline"})
    )
    run = RunConfig(
        params={"run": 2, "stage run": 2},
        stages={"train": StageOverrides({"stage run": 3}), "other": StageOverrides({"pipeline": 9})},
    )
    assert execution_spec(pipeline, stage, run)["params"] == {
        "pipeline": 0,
        "stage": 1,
        "run": 2,
        "stage run": 3,
    }


def test_a_stage_overrides_the_environment_and_folder_of_its_pipeline() -> None:
    pipeline = PipelineConfig(workdir="/srv", env={"A": "pipeline", "B": "pipeline"})
    stage = replace(TRAIN, config=StageConfig(("true",), env={"B": "stage"}, workdir="/work"))
    spec = execution_spec(pipeline, stage, RunConfig())
    assert (spec["env"], spec["workdir"]) == ({"A": "pipeline", "B": "stage"}, "/work")
    assert execution_spec(pipeline, TRAIN, RunConfig())["workdir"] == "/srv"


def test_parameters_replace_each_other_whole() -> None:
    """A nested object is one value: its members are not merged."""
    pipeline = PipelineConfig(params={"model": {"depth": 3, "trees": 9}})
    run = RunConfig(params={"model": {"depth": 4}})
    assert execution_spec(pipeline, TRAIN, run)["params"] == {"model": {"depth": 4}}


STORED = {
    "command": ["python", "train.py"],
    "env": {"A": "1"},
    "params": {"lr": 0.1},
    "timeoutSeconds": 60,
    "retries": {
        "limit": 3,
        "delay": 0.5,
        "factor": 1.5,
        "maxDelay": 9,
        "jitter": False,
        "on": ["EXITED", "LOST"],
    },
    "resources": {"cpus": 2.0, "memoryMb": 512},
    "executor": "LOCAL",
    "workdir": "/srv",
    "cache": {"version": "2", "files": ["a.py"], "use": False},
}
"""An execution spec with the spelling that databases hold, which must never change; keys may be added."""

CONFIG = StageConfig(
    command=("python", "train.py"),
    env={"A": "1"},
    params={"lr": 0.1},
    timeout_seconds=60,
    retries=RetryPolicy(3, 0.5, 1.5, 9.0, False, frozenset({FinishReason.LOST, FinishReason.EXITED})),
    resources=Resources(2.0, 512),
    executor=ExecutorType.LOCAL,
    workdir="/srv",
    cache=CachePolicy("2", ("a.py",), use=False),
)


def test_an_execution_spec_is_stored_and_read_back_with_the_spelling_of_older_releases() -> None:
    assert STORED.items() <= to_json(CONFIG).items()
    assert from_json(StageConfig, STORED) == CONFIG


def test_a_key_that_a_stored_spec_lacks_has_its_default() -> None:
    assert from_json(StageConfig, {"command": ["true"]}) == StageConfig(("true",))
    assert from_json(RetryPolicy, {}) == RetryPolicy()
    assert from_json(RetryPolicy, {"on": []}).on == frozenset()


def test_a_spec_without_a_command_is_refused() -> None:
    with pytest.raises(TypeError, match="command"):
        from_json(StageConfig, {})


@pytest.mark.parametrize(
    ("damaged", "readable"),
    [
        ({}, StageConfig(())),
        ({"executor": "LATER"}, StageConfig((), executor="LATER")),
        ({"command": 5, "retries": "often", "timeoutSeconds": 3}, StageConfig((), timeout_seconds=3)),
        (
            {"retries": {"on": ["LATER"]}, "resources": {"memoryMb": 9}},
            StageConfig((), resources=Resources(1, 9)),
        ),
        ({"cache": 5, "resources": None}, StageConfig(())),
    ],
)
def test_what_can_be_read_of_a_damaged_spec_is_read(damaged: dict[str, Any], readable: StageConfig) -> None:
    assert readable_config(damaged) == readable
