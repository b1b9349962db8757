"""``cache`` in the configuration of a stage and of a run: its values, and the problems that are reported."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.cache_policy import PATTERNS_LIMIT, CachePolicy
from app.domain.input.pipelines import parse_pipeline, parse_run_config
from app.domain.specs import RunConfig, execution_spec
from app.errors import ErrorCode, InvalidInput


def draft(cache: Any, workdir: str | None = "/srv/code") -> dict[str, Any]:
    config = {"command": ["python", "train.py"], "cache": cache, "workdir": workdir}
    return {"name": "p", "stages": [{"name": "train", "stageType": "MODEL_TRAINING", "config": config}]}


def policy(cache: Any) -> CachePolicy | None:
    return parse_pipeline(draft(cache)).stages[0].config.cache


def problems(cache: Any, workdir: str | None = "/srv/code") -> dict[str, str]:
    """Messages by the paths of their fields."""
    with pytest.raises(InvalidInput) as refusal:
        parse_pipeline(draft(cache, workdir))
    assert {problem.code for problem in refusal.value.problems} == {ErrorCode.INVALID_SPECIFICATION}
    return {".".join(problem.path): problem.message for problem in refusal.value.problems}


@pytest.mark.parametrize("off", [None, False])
def test_by_default_a_stage_has_no_cache(off: bool | None) -> None:
    assert policy(off) is None


def test_true_means_the_files_that_the_command_names() -> None:
    assert policy(True) == policy({}) == CachePolicy(version="", files=None)


def test_files_and_a_version_may_be_given() -> None:
    assert policy({"version": "v2", "files": ["train.py", "src/**/*.py"]}) == CachePolicy(
        "v2", ("train.py", "src/**/*.py")
    )
    assert policy({"version": 3, "files": []}) == CachePolicy("3", ())


@pytest.mark.parametrize("wrong", ["yes", 1, ["train.py"]])
def test_anything_but_a_flag_or_an_object_is_refused(wrong: Any) -> None:
    found = problems(wrong)["stages.0.config.cache"]
    assert "must be true, false or an object with version and files" in found


@pytest.mark.parametrize("version", [1.1, True, ["1"], "", {"a": 1}])
def test_a_version_is_a_text_or_a_whole_number(version: Any) -> None:
    assert list(problems({"version": version})) == ["stages.0.config.cache.version"]


@pytest.mark.parametrize(
    ("files", "path", "message"),
    [
        ("train.py", "", "must be a list of files or patterns"),
        ({"a": 1}, "", "must be a list of files or patterns"),
        ([3], ".0", "must be a text, not 3; quote it"),
        (["train.py", ""], ".1", "must be a non-empty text"),
        (["/etc/passwd"], ".0", "must stay within the working folder, is '/etc/passwd'"),
        (["src/../../x"], ".0", "must stay within the working folder"),
        (["a\nb"], ".0", "must not contain control characters"),
        (["x"] * (PATTERNS_LIMIT + 1), "", "the limit is 100"),
    ],
)
def test_files_are_patterns_within_the_working_folder(files: Any, path: str, message: str) -> None:
    assert message in problems({"files": files})[f"stages.0.config.cache.files{path}"]


def test_a_misspelt_key_is_named() -> None:
    assert "did you mean 'version'" in problems({"verson": "1"})["stages.0.config.cache.verson"]


def test_files_need_a_working_folder_to_be_relative_to() -> None:
    assert "set workdir" in problems({"files": ["a.py"]}, None)["stages.0.config.cache.files"]
    shared = {**draft({"files": ["a.py"]}, None), "config": {"workdir": "/srv"}}
    assert parse_pipeline(shared).stages[0].config.cache == CachePolicy(files=("a.py",))


def test_a_run_uses_the_cache_by_default() -> None:
    assert parse_run_config(None, []).cache
    assert not parse_run_config({"cache": False}, []).cache
    with pytest.raises(InvalidInput, match=r"runConfig\.cache: must be true or false, not a text"):
        parse_run_config({"cache": "no"}, [])


def test_an_execution_spec_has_the_policy_and_whether_the_run_uses_it() -> None:
    spec = parse_pipeline(draft({"version": "2", "files": ["a.py"]}))
    stage = spec.stages[0]
    assert execution_spec(spec.config, stage, RunConfig(cache=False))["cache"] == {
        "version": "2",
        "files": ["a.py"],
        "use": False,
    }
    plain = parse_pipeline(draft(None))
    assert execution_spec(plain.config, plain.stages[0], RunConfig())["cache"] is None
