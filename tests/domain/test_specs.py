"""What an attempt gets: the merge of pipeline, stage and run."""

from __future__ import annotations

from dataclasses import replace

from app.domain.retry import RetryPolicy
from app.domain.specs import (
    PipelineConfig,
    RunConfig,
    StageConfig,
    StageSpec,
    execution_spec,
    retry_from_json,
    retry_to_json,
)
from app.domain.vocabulary import FinishReason, StageType

TRAIN = StageSpec("train", StageType.MODEL_TRAINING, None, 0, (), {}, StageConfig(("true",)))


def test_the_nearest_parameter_wins() -> None:
    every = {"stage run": 0, "run": 0, "stage": 0, "pipeline": 0}
    pipeline = PipelineConfig(params=every)
    stage = replace(
        TRAIN, config=StageConfig(("true",), params={key: 1 for key in every if key != "pipeline"})
    )
    run = RunConfig(
        params={"run": 2, "stage run": 2}, stage_params={"train": {"stage run": 3}, "other": {"pipeline": 9}}
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
    """A nested object is one value: half of it from here and half from there would surprise."""
    pipeline = PipelineConfig(params={"model": {"depth": 3, "trees": 9}})
    run = RunConfig(params={"model": {"depth": 4}})
    assert execution_spec(pipeline, TRAIN, run)["params"] == {"model": {"depth": 4}}


def test_a_retry_policy_survives_its_way_through_json() -> None:
    policy = RetryPolicy(3, 0.5, 1.5, 9.0, False, frozenset({FinishReason.LOST, FinishReason.EXITED}))
    assert retry_from_json(retry_to_json(policy)) == policy
    assert retry_from_json({}) == RetryPolicy()
    assert retry_from_json({"on": []}).on == frozenset()
