"""Runs the stages of an example as the stage contract requires, each as a real process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

EXAMPLES = Path(__file__).parents[2] / "app" / "examples"


@dataclass(frozen=True)
class StageOutcome:
    """The log, files and exit code of one process."""

    name: str
    exit_code: int
    log: str
    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def json(self, path: str) -> Any:
        """The content of a JSON file in the attempt's folder."""
        return json.loads((self.folder / path).read_text())

    def manifest(self) -> list[dict[str, Any]]:
        return list(self.json("out/artifacts.json")["artifacts"])

    def points(self) -> list[dict[str, Any]]:
        """The points that the stage wrote to MLP_METRICS."""
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]


class Pipeline:
    """A pipeline.yaml whose stages can be run one by one under a folder."""

    def __init__(self, file: Path, home: Path) -> None:
        self.definition = yaml.safe_load(file.read_text())
        self.config = self.definition.get("config", {})
        self.stages = {stage["name"]: stage for stage in self.definition["stages"]}
        self.workdir = file.parent / self.config.get("workdir", ".")
        self.home = home

    def order(self) -> list[str]:
        """The stage names, each after its dependencies."""
        done: list[str] = []
        while waiting := [name for name in self.stages if name not in done]:
            done.append(next(name for name in waiting if set(self.dependencies(name)) <= set(done)))
        return done

    def dependencies(self, name: str) -> list[str]:
        return list(self.stages[name].get("dependencies", []))

    def prepare(self, name: str, attempt: str = "1") -> Path:
        """Make the attempt's folder; its inputs are the outputs of the first attempts of its dependencies."""
        folder = self.home / f"{name}.{attempt}"
        for part in ("out", "home", "tmp", "inputs"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for dependency in self.dependencies(name):
            shutil.copytree(self.home / f"{dependency}.1" / "out", folder / "inputs" / dependency)
        return folder

    def run(self, name: str, attempt: str = "1", **params: Any) -> StageOutcome:
        """Prepare and run one stage; `params` override those in the file."""
        return self.run_in(self.prepare(name, attempt), name, **params)

    def run_in(self, folder: Path, name: str, **params: Any) -> StageOutcome:
        """Run one stage in a folder made by `prepare`."""
        stage = self.stages[name]["config"]
        merged = {**self.config.get("params", {}), **stage.get("params", {}), **params}
        (folder / "params.json").write_text(json.dumps(merged))
        process = subprocess.run(
            stage["command"],
            cwd=self.workdir,
            env=self._environment(name, folder) | self.config.get("env", {}) | stage.get("env", {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return StageOutcome(name, process.returncode, process.stdout, folder)

    def _environment(self, name: str, folder: Path) -> dict[str, str]:
        return {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "TMPDIR": str(folder / "tmp"),
            "PYTHONUNBUFFERED": "1",
            "MLP_RUN_ID": "run",
            "MLP_STAGE": name,
            "MLP_STAGE_RUN_ID": f"run-{name}",
            "MLP_ATTEMPT": "1",
            "MLP_PARAMS": str(folder / "params.json"),
            "MLP_INPUTS": str(folder / "inputs"),
            "MLP_OUTPUT_DIR": str(folder / "out"),
            "MLP_METRICS": str(folder / "metrics.jsonl"),
            "MLP_RESULT": str(folder / "stage_result.json"),
        }
