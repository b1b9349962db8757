"""Checks of all examples, and a run of the smallest one."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
import yaml
from pipeline_harness import EXAMPLES, Pipeline

from app.domain.input.pipelines import parse_pipeline

PIPELINES = sorted(EXAMPLES.glob("*/pipeline.yaml"))
ALLOWED = {"sklearn", "numpy", "joblib"}


@pytest.mark.parametrize("file", PIPELINES, ids=lambda file: file.parent.name)
def test_the_product_accepts_the_pipeline(file: Path) -> None:
    definition = yaml.safe_load(file.read_text())
    if config := definition.get("config"):
        config["workdir"] = str((file.parent / config["workdir"]).resolve())
    pipeline = parse_pipeline(definition)
    assert pipeline.name == file.parent.name
    assert [stage.name for stage in pipeline.stages] == [stage["name"] for stage in definition["stages"]]


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*/*.py")), ids=lambda file: file.stem)
def test_a_script_needs_only_its_neighbours_and_scikit_learn(script: Path) -> None:
    neighbours = {file.stem for file in script.parent.glob("*.py")}
    imported = set()
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported <= neighbours | ALLOWED | sys.stdlib_module_names


def test_hello_passes_its_greeting_on(tmp_path: Path) -> None:
    pipeline = Pipeline(EXAMPLES / "hello" / "pipeline.yaml", tmp_path)
    outcomes = {name: pipeline.run(name) for name in pipeline.order()}
    assert {outcome.exit_code for outcome in outcomes.values()} == {0}
    assert (outcomes["greet"].out / "greeting.txt").read_text() == "hello from greet\n"
    assert (outcomes["shout"].out / "shout.txt").read_text() == "HELLO FROM GREET\n"
    assert int((outcomes["count"].out / "size.txt").read_text()) == len("hello from greet\n")
