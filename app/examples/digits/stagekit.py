"""The stage contract in a few lines of the standard library: copy this file next to your own scripts.

A stage reads MLP_PARAMS and MLP_INPUTS, leaves files in MLP_OUTPUT_DIR, appends to MLP_METRICS and
writes MLP_RESULT. What it prints is its log; a non-zero exit fails it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

_published: list[dict[str, Any]] = []


def params() -> dict[str, Any]:
    """The merged parameters of the pipeline, the stage and the run."""
    merged: dict[str, Any] = json.loads(Path(os.environ["MLP_PARAMS"]).read_text())
    return merged


def inputs(pattern: str) -> list[Path]:
    """The files of dependencies that match `<dependency>/<path>`, sorted. Exits if there is none."""
    found = sorted(Path(os.environ["MLP_INPUTS"]).glob(pattern))
    return found or sys.exit(f"no input matches {pattern}")


def input_file(pattern: str) -> Path:
    """The one file of the dependencies that matches `<dependency>/<path>`."""
    found = inputs(pattern)
    return found[0] if len(found) == 1 else sys.exit(f"{len(found)} inputs match {pattern}")


def dependency_of(path: Path) -> str:
    """The name of the stage that made this input."""
    return path.relative_to(os.environ["MLP_INPUTS"]).parts[0]


def output_file(path: str, **manifest: Any) -> Path:
    """The path for one output; `manifest` (name, description, model...) describes it to the server."""
    target = Path(os.environ["MLP_OUTPUT_DIR"], path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _published.append({"path": path, **manifest})
    Path(os.environ["MLP_OUTPUT_DIR"], "artifacts.json").write_text(_json({"artifacts": _published}))
    return target


def write_json(path: str, value: Any, **manifest: Any) -> None:
    """Writes one JSON output."""
    output_file(path, **manifest).write_text(_json(value))


def write_metrics(values: dict[str, float]) -> None:
    """Writes the final metrics of the stage; they become `StageRun.metrics`."""
    write_json("metrics.json", values, name="Metrics", type="METRICS")


def log_metrics(step: int, **values: float) -> None:
    """Appends one point per metric; the server shows them while the stage runs."""
    points = [{"name": name, "value": value, "step": step} for name, value in values.items()]
    with open(os.environ["MLP_METRICS"], "a") as stream:
        stream.writelines(json.dumps(point, allow_nan=False) + "\n" for point in points)


def write_result(**values: Any) -> None:
    """Writes the result of the stage; it becomes `StageRun.outputData`."""
    Path(os.environ["MLP_RESULT"]).write_text(_json(values))


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"
