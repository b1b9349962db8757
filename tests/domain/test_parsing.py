"""Input is either understood or refused with the path to each problem; unstorable values are refused."""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from app.database import json_codec
from app.domain.input.pipelines import parse_pipeline, parse_run_config
from app.domain.specs import PipelineSpec, StageOverrides, definition_of
from app.domain.vocabulary import FinishReason, StageType
from app.errors import ErrorCode, InvalidInput

BOTTOMLESS: list[Any] = []
BOTTOMLESS.append(BOTTOMLESS)


def stage(name: str = "train", **values: Any) -> dict[str, Any]:
    return {"name": name, "stageType": "MODEL_TRAINING", "config": {"command": ["true"]}, **values}


def with_config(**config: Any) -> dict[str, Any]:
    """A pipeline of one stage with this config."""
    return {"name": "p", "stages": [stage(config={"command": ["true"], **config})]}


def pipeline(*stages: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    return {"name": "p", "stages": list(stages), **values}


def problems(draft: Any) -> dict[str, str]:
    """Messages by path."""
    with pytest.raises(InvalidInput) as refusal:
        parse_pipeline(draft)
    return {".".join(problem.path): problem.message for problem in refusal.value.problems}


def run_problems(config: Any, *stage_names: str) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refusal:
        parse_run_config(config, stage_names)
    return {".".join(problem.path): problem.message for problem in refusal.value.problems}


def order_of(spec: PipelineSpec) -> list[int]:
    return [stage.order for stage in spec.stages]


def test_a_whole_pipeline_is_read_into_typed_values() -> None:
    config = {
        "command": ["python", "train.py"],
        "env": {"THREADS": 2, "RATE": 0.5, "NAME": "x"},
        "params": {"lr": 0.1},
        "timeout": 600,
        "retries": {"limit": 2, "delay": 0, "on": ["TIMED_OUT"]},
        "resources": {"cpus": 0.5, "memoryMb": 2048},
        "allowFailure": True,
        "workdir": "/srv",
    }
    spec = parse_pipeline(pipeline(stage(config=config), config={"failFast": False, "timeout": 5}))
    parsed = spec.stages[0].config
    assert spec.config.fail_fast is False
    assert spec.config.timeout_seconds == 5
    assert parsed.command == ("python", "train.py")
    assert parsed.env == {"THREADS": "2", "RATE": "0.5", "NAME": "x"}
    assert (parsed.retries.limit, parsed.retries.delay) == (2, 0)
    assert parsed.retries.on == {FinishReason.TIMED_OUT}
    assert (parsed.resources.cpus, parsed.resources.memory_mb) == (0.5, 2048)
    assert (parsed.allow_failure, parsed.workdir, parsed.timeout_seconds) == (True, "/srv", 600)


def test_all_problems_are_reported_at_once_each_with_its_path() -> None:
    found = problems(
        {
            "name": " ",
            "config": {"maxConcurrentStages": 0},
            "stages": [
                {"name": "a/b", "stageType": "TRAINING", "config": {}},
                stage("b", stageType="CUSTOM", dependencies=["c"]),
            ],
        }
    )
    assert set(found) == {
        "name",
        "config.maxConcurrentStages",
        "stages.0.name",
        "stages.0.stageType",
        "stages.0.config.command",
        "stages.1.customName",
        "stages.1.dependencies",
    }


def test_every_problem_is_an_invalid_specification() -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_pipeline({})
    assert {problem.code for problem in refusal.value.problems} == {ErrorCode.INVALID_SPECIFICATION}


@pytest.mark.parametrize("draft", [None, [], "text", 5, {}, {"name": "p"}, {"name": "p", "stages": []}])
def test_a_draft_that_is_no_pipeline_is_refused(draft: Any) -> None:
    assert problems(draft)


@pytest.mark.parametrize(
    "value",
    [
        "a\0b",
        "\ud800",
        math.nan,
        math.inf,
        2**64,
        -(2**63) - 1,
        dt.date(2026, 11, 23),
        b"bytes",
        {1, 2},
        BOTTOMLESS,
        {"a\0b": 1},
        {"\udc80": 1},
        {1: "one"},
        {True: ["EXITED"]},
        {None: 1},
        {dt.date(2026, 11, 23): 1},
        {("a", "b"): 1},
    ],
    ids=repr,
)
@pytest.mark.parametrize("place", ["params", "pipeline params", "own key", "inner", "run params"])
def test_values_that_json_or_postgresql_cannot_hold_are_refused_everywhere(value: Any, place: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_with(value, place)
    for problem in refusal.value.problems:
        shown = problem.message + "".join(problem.path)
        assert "\0" not in shown
        shown.encode()


def parse_with(value: Any, place: str) -> None:
    match place:
        case "params":
            parse_pipeline(with_config(params={"x": value}))
        case "pipeline params":
            parse_pipeline(pipeline(stage(), config={"params": {"x": value}}))
        case "own key":
            parse_pipeline(with_config(**{"x-notes": value}))
        case "inner":
            parse_pipeline(with_config(params={"x": [{"y": [value]}]}))
        case "run params":
            parse_run_config({"params": {"x": value}}, ["train"])


@pytest.mark.parametrize("value", [2**64 - 1, -(2**63), 0.1, -0.0, True, None, "ä\u2028🐧", [], {}])
def test_plain_json_is_kept_unchanged_and_can_be_stored(value: Any) -> None:
    spec = parse_pipeline(with_config(params={"x": value}))
    assert spec.stages[0].config.params == {"x": value}
    assert json_codec.loads(json_codec.dumps(definition_of(spec))) == definition_of(spec)


def test_aliases_that_expand_without_end_are_refused_in_bounded_time() -> None:
    bomb: list[Any] = ["x"] * 10
    for _ in range(30):
        bomb = [bomb] * 10
    started = time.monotonic()
    assert "values" in problems(with_config(params={"x": bomb}))[""]
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "name",
    ["", " ", "a/b", "a\\b", "..", ".hidden", "-rf", "~root", " a", "a ", "a\nb", "a\tb", "x" * 101, 5, None],
)
def test_a_stage_name_that_is_unsafe_as_a_folder_name_is_refused(name: Any) -> None:
    assert "stages.0.name" in problems(pipeline(stage(name)))


def test_a_stage_name_of_too_many_bytes_is_refused() -> None:
    assert "bytes" in problems(pipeline(stage("🐧" * 64)))["stages.0.name"]
    assert parse_pipeline(pipeline(stage("🐧" * 63))).stages[0].name == "🐧" * 63


def test_stage_names_that_differ_only_in_case_are_refused() -> None:
    found = problems(pipeline(stage("Straße"), stage("STRASSE")))
    assert found["stages.1.name"] == "stages.1.name: 'STRASSE' is already used by stages.0"


OWN = " (keys of your own begin with x-)"
LISTED_STAGE_KEYS = "the keys here are command, env, params, timeout, retries, resources, allowFailure"


@pytest.mark.parametrize(
    ("config", "key", "hint"),
    [
        ({"retrys": 1}, "retrys", "did you mean 'retries'?"),
        ({"retry": {"limit": 3}}, "retry", "did you mean 'retries'?"),
        ({"environment": {"A": "x"}}, "environment", "did you mean 'env'?"),
        ({"timeoutSeconds": 5}, "timeoutSeconds", "did you mean 'timeout'?"),
        ({"cwd": "/srv"}, "cwd", LISTED_STAGE_KEYS),
        ({"": 1}, "", LISTED_STAGE_KEYS),
        ({"depends_on": ["a"]}, "depends_on", "'dependencies' stands beside 'config', not in it"),
        ({"name": "a"}, "name", "'name' stands beside 'config', not in it"),
        ({"resources": {"mem": 10}}, "resources.mem", "did you mean 'memoryMb'?"),
        ({"retries": {"times": 3}}, "retries.times", "the keys here are limit, delay, factor, maxDelay"),
        ({"cache": {"key": "x"}}, "cache.key", "the keys here are version, files"),
    ],
)
def test_an_unknown_key_is_refused_with_a_suggestion(config: Any, key: str, hint: str) -> None:
    path = f"stages.0.config.{key}"
    found = problems(with_config(**config))
    assert list(found) == [path]
    assert found[path].startswith(f"{path}: unknown key; {hint}")
    assert found[path].endswith(OWN)


@pytest.mark.parametrize(
    ("config", "hint"),
    [
        ({"timeoutSeconds": 5}, "config.timeoutSeconds: unknown key; did you mean 'timeout'?"),
        ({"retries": {"limit": 1}}, "config.retries: unknown key; the keys here are workdir, env, params"),
        ({"stages": []}, "config.stages: unknown key; 'stages' stands beside 'config', not in it"),
        (
            {"concurrency": {"group": "x"}},
            "config.concurrency.group: unknown key; the keys here are key, policy",
        ),
    ],
)
def test_an_unknown_key_of_the_pipelines_config_is_refused(config: Any, hint: str) -> None:
    (message,) = problems(pipeline(stage(), config=config)).values()
    assert message.startswith(hint)


def test_an_unknown_key_of_a_run_config_is_refused() -> None:
    found = run_problems({"timeoutSeconds": 5, "stages": {"train": {"lr": 1}}}, "train")
    assert found["runConfig.timeoutSeconds"].endswith(f"did you mean 'timeout'?{OWN}")
    assert "the keys here are params" in found["runConfig.stages.train.lr"]


def test_keys_of_the_users_own_are_kept() -> None:
    own = {"x-owner": "me", "x-notes": [{"any": "thing"}]}
    config = {"command": ["true"], "retries": own, "resources": own, "cache": own, **own}
    spec = parse_pipeline(pipeline(stage(config=config), config={"concurrency": own, **own}))
    assert (spec.raw_config, spec.stages[0].raw_config) == ({"concurrency": own, **own}, config)
    assert parse_pipeline(definition_of(spec)) == spec
    parse_run_config({"stages": {"train": own}, **own}, ["train"])


def test_a_misspelt_dependency_is_refused_with_the_name_that_was_meant() -> None:
    found = problems(pipeline(stage("load"), stage("train", dependencies=["laod"])))
    assert found["stages.1.dependencies"].endswith("unknown stage 'laod'; did you mean 'load'?")


def test_a_cycle_is_refused_and_shown() -> None:
    found = problems(
        pipeline(
            stage("a", dependencies=["c"]), stage("b", dependencies=["a"]), stage("c", dependencies=["b"])
        )
    )
    (message,) = found.values()
    assert "the dependencies form a cycle" in message
    assert message.count("->") == 3


def test_a_stage_that_depends_on_itself_is_refused() -> None:
    assert "depends on itself" in problems(pipeline(stage("a", dependencies=["a"])))["stages.0.dependencies"]


def test_a_dependency_named_twice_counts_once() -> None:
    spec = parse_pipeline(pipeline(stage("a"), stage("b", dependencies=["a", "a"])))
    assert spec.stages[1].dependencies == ("a",)


def test_missing_orders_take_the_free_numbers() -> None:
    spec = parse_pipeline(pipeline(stage("a"), stage("b", order=0), stage("c"), stage("d", order=7)))
    assert order_of(spec) == [1, 0, 2, 7]


def test_an_order_used_twice_is_refused_and_a_wrong_one_by_itself() -> None:
    found = problems(pipeline(stage("a", order=1), stage("b", order=1)))
    assert found == {"stages.1.order": "stages.1.order: order 1 is already used by stages.0"}
    assert set(problems(pipeline(stage("a", order=1), stage("b", order="1")))) == {"stages.1.order"}
    assert set(problems(pipeline(stage("a", order=-1), stage("b", order=-1)))) == {
        "stages.0.order",
        "stages.1.order",
    }


def test_a_command_that_is_a_text_is_a_shell_line() -> None:
    assert parse_pipeline(with_config(command="echo $HOME | cat")).stages[0].config.command == (
        "sh",
        "-c",
        "echo $HOME | cat",
    )


@pytest.mark.parametrize("command", [None, "", "  ", [], [""], {"run": "x"}, 5])
def test_a_value_that_is_no_command_is_refused(command: Any) -> None:
    assert "stages.0.config.command" in problems(with_config(command=command))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (10, "must be a text, not 10; quote it"),
        (True, "must be a text, not a boolean; quote it"),
        (None, "must be a text, not null"),
        (["x"], "must be a text, not a list"),
    ],
)
def test_a_part_of_a_command_that_is_no_text_is_reported_by_its_index(part: Any, message: str) -> None:
    path = "stages.0.config.command.2"
    assert problems(with_config(command=["python", "train.py", part])) == {path: f"{path}: {message}"}


@pytest.mark.parametrize(
    ("draft", "path", "message"),
    [
        (pipeline(stage(), name=5), "name", "must be a text, not 5; quote it"),
        (pipeline(stage(), name=None), "name", "is missing"),
        (pipeline(stage(), name=" "), "name", "must be a non-empty text"),
        (pipeline(stage(), description=1.5), "description", "must be a text, not 1.5; quote it"),
        (pipeline(stage(True)), "stages.0.name", "must be a text, not a boolean; quote it"),
        (pipeline(stage(["a"])), "stages.0.name", "must be a text, not a list"),
        (pipeline(stage(stageType=None)), "stages.0.stageType", "is missing; one of DATA_INGESTION, "),
    ],
)
def test_a_missing_text_and_one_of_another_kind_differ_in_the_message(
    draft: Any, path: str, message: str
) -> None:
    found = problems(draft)
    assert list(found) == [path]
    assert found[path].startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("draft", "message"),
    [
        ([], "must be an object, not a list"),
        (pipeline("train"), "stages.0: must be an object, not a text"),
        (pipeline(5, stage("b", dependencies=["a"])), "stages.0: must be an object, not 5"),
        (pipeline(stage(config="true")), "stages.0.config: must be an object, not a text"),
        (pipeline(stage(), config=["x"]), "config: must be an object, not a list"),
        (with_config(retries=3), "stages.0.config.retries: must be an object, not 3"),
    ],
)
def test_a_value_that_is_no_object_has_one_problem_only(draft: Any, message: str) -> None:
    assert list(problems(draft).values()) == [message]


@pytest.mark.parametrize(
    ("name", "content"),
    [("1A", "x"), ("A-B", "x"), ("", "x"), ("A", True), ("A", None), ("A", ["x"]), ("MLP_RUN_ID", "x")],
)
def test_an_invalid_variable_is_refused(name: str, content: Any) -> None:
    assert list(problems(with_config(env={name: content}))) == [f"stages.0.config.env.{name}"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("timeout", 0),
        ("timeout", True),
        ("timeout", "1h"),
        ("timeout", 10**12),
        ("allowFailure", "no"),
        ("allowFailure", 0),
        ("executor", "RAY"),
        ("executor", ["LOCAL"]),
        ("workdir", "relative"),
        ("workdir", 5),
        ("resources", {"cpus": 0}),
        ("resources", {"cpus": True}),
        ("resources", {"memoryMb": 0.5}),
        ("resources", {"gpus": -1}),
        ("resources", []),
        ("retries", {"limit": -1}),
        ("retries", {"limit": 1.5}),
        ("retries", {"factor": 0.5}),
        ("retries", {"on": "EXITED"}),
        ("retries", {"on": ["CANCELLED"]}),
        ("retries", {"on": ["LOST"]}),
        ("retries", {"jitter": "yes"}),
        ("retries", 3),
        ("params", ["lr"]),
        ("env", "A=1"),
    ],
)
def test_a_value_of_the_wrong_kind_or_size_is_refused(key: str, value: Any) -> None:
    (path,) = problems(with_config(**{key: value}))
    assert path.startswith(f"stages.0.config.{key}")


@pytest.mark.parametrize("gpus", [1, 0.5, True, "0", [0]])
def test_gpus_are_refused(gpus: Any) -> None:
    message = "stages.0.config.resources.gpus: gpus can't be claimed yet: leave it out, or 0"
    assert list(problems(with_config(resources={"gpus": gpus})).values()) == [message]
    for none in (0, None):
        assert parse_pipeline(with_config(resources={"gpus": none})).stages[0].config.resources.cpus == 1


def test_null_means_the_default() -> None:
    keys = ("env", "params", "timeout", "retries", "resources", "allowFailure", "executor", "workdir")
    spec = parse_pipeline(with_config(**dict.fromkeys(keys)))
    assert spec.stages[0].config == parse_pipeline(with_config()).stages[0].config
    shared = ("workdir", "env", "params", "timeout", "failFast", "maxConcurrentStages")
    assert parse_pipeline(pipeline(stage(), config=dict.fromkeys(shared))).config.fail_fast is True


@pytest.mark.parametrize("value", [["MODEL_TRAINING"], {}, None, 5, "", "x" * 100_000])
def test_a_value_that_is_no_stage_type_is_refused(value: Any) -> None:
    assert "stages.0.stageType" in problems(pipeline(stage(stageType=value)))


def test_a_custom_stage_needs_a_custom_name() -> None:
    assert "stages.0.customName" in problems(pipeline(stage(stageType="CUSTOM")))
    spec = parse_pipeline(pipeline(stage(stageType="CUSTOM", customName="deduplicate")))
    assert (spec.stages[0].stage_type, spec.stages[0].custom_name) == (StageType.CUSTOM, "deduplicate")


def test_a_stored_definition_is_read_back_as_the_same_pipeline() -> None:
    draft = pipeline(stage("a"), stage("b", dependencies=["a"], order=5), description="d", config={"env": {}})
    spec = parse_pipeline(draft)
    assert parse_pipeline(definition_of(spec)) == spec


def test_a_run_config_overrides_parameters_limit_and_fail_fast() -> None:
    config = parse_run_config(
        {"params": {"a": 1}, "stages": {"train": {"params": {"b": 2}}}, "timeout": 9, "failFast": False},
        ["train"],
    )
    assert config.params == {"a": 1}
    assert config.stages == {"train": StageOverrides({"b": 2})}
    assert (config.timeout_seconds, config.fail_fast) == (9, False)
    assert parse_run_config(None, ["train"]) == parse_run_config({}, [])


def test_a_run_config_names_only_stages_that_exist() -> None:
    found = run_problems({"stages": {"trian": {}}}, "train", "load")
    assert found == {
        "runConfig.stages.trian": (
            "runConfig.stages.trian: the pipeline has no stage of this name; did you mean 'train'?"
        )
    }


@pytest.mark.parametrize(
    "config",
    [[], "x", {"stages": []}, {"stages": {"train": 5}}, {"params": 1}, {"timeout": -1}, {"failFast": "no"}],
)
def test_a_value_that_is_no_run_config_is_refused(config: Any) -> None:
    assert run_problems(config, "train")


def test_a_chain_of_5000_stages_is_read_in_a_moment() -> None:
    chain = [stage(f"s{n}", dependencies=[f"s{n - 1}"] if n else []) for n in range(5000)]
    started = time.monotonic()
    assert len(parse_pipeline(pipeline(*chain)).stages) == 5000
    assert time.monotonic() - started < 10


def test_a_cycle_through_5000_stages_is_found_without_recursion_and_shown_in_short() -> None:
    ring = [stage(f"s{n}", dependencies=[f"s{(n - 1) % 5000}"]) for n in range(5000)]
    (message,) = problems(pipeline(*ring)).values()
    assert "more)" in message
    assert len(message) < 1000


SLIPS = [f"stege number {n}" for n in range(10_000)]
RIGHT = [f"stage number {n}" for n in range(2000)]


@pytest.mark.parametrize(
    "parse",
    [
        lambda: parse_pipeline(pipeline(*map(stage, RIGHT), stage("last", dependencies=SLIPS))),
        lambda: parse_pipeline(with_config(**dict.fromkeys(SLIPS), retrys=1)),
        lambda: parse_run_config({"stages": dict.fromkeys(SLIPS)}, RIGHT),
    ],
    ids=["dependencies", "keys", "stages of a run"],
)
def test_ten_thousand_misspelt_names_are_refused_in_bounded_time(parse: Callable[[], object]) -> None:
    """To search the right name for each of them would take minutes."""
    started = time.monotonic()
    with pytest.raises(InvalidInput):
        parse()
    assert time.monotonic() - started < 10


def test_more_stages_than_allowed_are_refused() -> None:
    assert "the limit is 10000" in problems(pipeline(*[stage("s")] * 10_001))["stages"]
