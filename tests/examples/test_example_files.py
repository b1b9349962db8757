"""What holds for every example without running it, and the smallest one, run."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from pipeline_harness import EXAMPLES, Pipeline

from app.domain.statuses import StageType

PIPELINES = sorted(EXAMPLES.glob("*/pipeline.yaml"))
ALLOWED = {"sklearn", "numpy", "joblib"}


@pytest.mark.parametrize("file", PIPELINES, ids=lambda file: file.parent.name)
def test_a_pipeline_names_known_stage_types_argv_commands_and_earlier_stages(
    file: Path, tmp_path: Path
) -> None:
    pipeline = Pipeline(file, tmp_path)
    assert pipeline.definition["name"] == file.parent.name
    assert len(pipeline.stages) == len(pipeline.definition["stages"])
    earlier: set[str] = set()
    for name, stage in pipeline.stages.items():
        custom = StageType(stage["stageType"]) is StageType.CUSTOM
        assert custom == ("customName" in stage)
        assert all(isinstance(word, str) for word in stage["config"]["command"])
        assert set(pipeline.dependencies(name)) <= earlier
        earlier.add(name)


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


def test_hello_hands_its_greeting_on(tmp_path: Path) -> None:
    pipeline = Pipeline(EXAMPLES / "hello" / "pipeline.yaml", tmp_path)
    outcomes = {name: pipeline.run(name) for name in pipeline.order()}
    assert {outcome.exit_code for outcome in outcomes.values()} == {0}
    assert (outcomes["greet"].out / "greeting.txt").read_text() == "hello from greet\n"
    assert (outcomes["shout"].out / "shout.txt").read_text() == "HELLO FROM GREET\n"
    assert int((outcomes["count"].out / "size.txt").read_text()) == len("hello from greet\n")
