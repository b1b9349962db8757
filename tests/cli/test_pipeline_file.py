from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.client.errors import Refused
from app.client.parameters import run_config
from app.client.pipeline_file import SIZE_LIMIT_BYTES, PipelineFile, read_pipeline_file
from app.client.yaml_text import NODES_LIMIT, Location, YamlError, parse

STAGE = "{name: a, stageType: CLEANUP, config: {command: [ls]}}"


def read(folder: Path, text: str | bytes) -> PipelineFile:
    path = folder / "p.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_pipeline_file(path)


def refusal(folder: Path, text: str | bytes) -> list[str]:
    """The lines of the refusal, without the folder."""
    with pytest.raises(Refused) as caught:
        read(folder, text)
    return [line.removeprefix(f"{folder}/") for line in caught.value.lines]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{on: [EXITED]}", {"on": ["EXITED"]}),
        ("[yes, no, off, y]", ["yes", "no", "off", "y"]),
        ("[true, False]", [True, False]),
        ("[1e-3, .5, 2., -7E+2]", [0.001, 0.5, 2.0, -700.0]),
        ("[010, 0o17, 0x1f, -4, 1_000]", [10, 15, 31, -4, "1_000"]),
        ("[12:30, 2026-11-23]", ["12:30", "2026-11-23"]),
        ("[~, null, '', 'null', !!str 5]", [None, None, "", "null", "5"]),
        ("{base: &b {x: 1, y: 1}, own: {<<: *b, y: 2}}", {"base": {"x": 1, "y": 1}, "own": {"x": 1, "y": 2}}),
        ("{own: {<<: [{x: 1}, {x: 2, y: 2}]}}", {"own": {"x": 1, "y": 2}}),
    ],
)
def test_values_are_read_as_yaml_1_2(text: str, value: Any) -> None:
    assert parse(text).value == value


@pytest.mark.parametrize(
    ("text", "message", "location"),
    [
        ("a: 1\nb: 2\na: 3\n", "'a' is given twice", Location(3, 1)),
        ("a:\n  b: [1, 2", "flow sequence", Location(2, 11)),
        ("a: [.nan]", ".nan can't be stored", Location(1, 5)),
        ("a: 1e999", "1e999 can't be stored", Location(1, 4)),
        ("1: x", "key 1 is not a text", Location(1, 1)),
        ("a: !!python/name:os.system x", "tag !!python/name:os.system", Location(1, 4)),
        ("a: 1\n---\nb: 2", "single document", Location(2, 1)),
        ("a: *unknown", "undefined alias 'unknown'", Location(1, 4)),
        ("a:\n\t- b", "token", Location(2, 1)),
        ("a: 1\nb: \x01", "control characters", Location(2, 4)),
        ("&loop [*loop]", "nested deeper", Location(1, 1)),
        ("[" * 5000, "nested deeper", None),
    ],
)
def test_yaml_errors_have_a_location(text: str, message: str, location: Location | None) -> None:
    with pytest.raises(YamlError) as caught:
        parse(text)
    assert message in caught.value.message
    assert caught.value.location == location


def test_aliases_that_expand_to_too_many_values_are_refused() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
    with pytest.raises(YamlError, match=f"more than {NODES_LIMIT} values"):
        parse("\n".join(levels))


def test_working_folders_are_relative_to_the_file(tmp_path: Path) -> None:
    text = "name: p\nconfig: {workdir: sub}\nstages:\n- name: a\n  stageType: CLEANUP\n  config: "
    file = read(tmp_path, text + "{command: [ls], workdir: ../other}")
    assert file.draft["config"]["workdir"] == str(tmp_path / "sub")
    assert file.draft["stages"][0]["config"]["workdir"] == str(tmp_path.parent / "other")


def test_the_default_working_folder_is_that_of_the_file(tmp_path: Path) -> None:
    assert read(tmp_path, f"name: p\nstages: [{STAGE}]").draft["config"] == {"workdir": str(tmp_path)}


def test_every_problem_is_reported_with_its_location(tmp_path: Path) -> None:
    text = (
        "name: p\nconfig:\n  timeout: soon\nstages:\n"
        "  - name: a\n    stageType: TRAINING\n    config: {command: []}\n    dependencies: [b]\n"
    )
    assert [line.split(": ", 2)[:2] for line in refusal(tmp_path, text)] == [
        ["p.yaml:3:3", "config.timeout"],
        ["p.yaml:6:5", "stages.0.stageType"],
        ["p.yaml:7:14", "stages.0.config.command"],
        ["p.yaml:8:5", "stages.0.dependencies"],
    ]


def test_a_missing_key_is_reported_at_the_object_that_lacks_it(tmp_path: Path) -> None:
    lines = refusal(tmp_path, "name: p\nstages:\n  - name: a\n    stageType: CLEANUP\n")
    assert [line.partition(" give")[0] for line in lines] == [
        "p.yaml:3:5: stages.0.config.command: is missing:"
    ]


def test_unknown_keys_are_refused_but_not_those_that_hold_anchors(tmp_path: Path) -> None:
    file = read(tmp_path, f"x-common: &c [ls]\nname: p\nstages: [{STAGE}]")
    assert set(file.draft) == {"name", "config", "stages"}
    lines = refusal(tmp_path, f"name: p\nstages: [{STAGE}]\nschedule: daily\nstage: 1")
    assert lines[0].startswith("p.yaml:3:1: schedule: unknown key; the keys here are name,")
    assert lines[1].startswith("p.yaml:4:1: stage: unknown key; did you mean 'stages'?")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"name: p\nstages: \xff", "p.yaml:2: the file is not UTF-8 text"),
        (b"", "p.yaml:1:1: a pipeline is a mapping"),
        (b"- a", "p.yaml:1:1: a pipeline is a mapping"),
        (b"#" * (SIZE_LIMIT_BYTES + 1), "p.yaml: a pipeline file may have at most 1000000 bytes"),
    ],
)
def test_files_that_hold_no_pipeline_are_refused(tmp_path: Path, content: bytes, line: str) -> None:
    assert refusal(tmp_path, content)[0].startswith(line)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="No such file"):
        read_pipeline_file(tmp_path / "none.yaml")


def test_parameters_are_yaml_values() -> None:
    config = run_config(["lr=1e-3", "name=warm start", "sizes=[1, 2]"], ["a.b.c=true", "a.x="], ["a", "a.b"])
    assert config == {
        "params": {"lr": 0.001, "name": "warm start", "sizes": [1, 2]},
        "stages": {"a.b": {"params": {"c": True}}, "a": {"params": {"x": None}}},
    }


@pytest.mark.parametrize(
    ("params", "stage_params", "message"),
    [
        (["lr"], [], "--param lr: must look like name=value"),
        (["=1"], [], "must look like name=value"),
        (["lr=[1"], [], "the value is not YAML"),
        ([], ["b.lr=1"], "stage is one of a"),
        ([], ["a.lr"], "must look like name=value"),
    ],
)
def test_wrong_parameters_are_refused(params: list[str], stage_params: list[str], message: str) -> None:
    with pytest.raises(Refused) as caught:
        run_config(params, stage_params, ["a"])
    assert message in str(caught.value)
