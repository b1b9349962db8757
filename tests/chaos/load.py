"""The pipelines that run under faults: fan-out, retries, failures of all kinds, runs that may not overlap."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("stage_program.py")
STAGES_OF_FAN = 2
"""How many stages of one run of ``fan`` may be active at the same time."""

RETRIES = {"limit": 2, "delay": 0.1, "jitter": False}


def _stage(name: str, needs: Sequence[str] = (), *options: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "needs": needs, "options": options, "config": config}


PIPELINES: Mapping[str, tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]] = {
    "fan": (
        {"maxConcurrentStages": STAGES_OF_FAN},
        [
            _stage("split", (), "--child"),
            *[_stage(f"part-{n}", ["split"]) for n in range(3)],
            _stage("join", [f"part-{n}" for n in range(3)]),
        ],
    ),
    "diamond": (
        {},
        [
            _stage("a"),
            _stage("b", ["a"], "--child"),
            _stage("c", ["a"], "--fails", "first", retries=RETRIES),
            _stage("d", ["b", "c"]),
        ],
    ),
    "doomed": (
        {},
        [
            _stage("good"),
            _stage("bad", (), "--fails", "always", retries={**RETRIES, "limit": 1}),
            _stage("beside", (), "--seconds", "4", "--child"),
            _stage("after-bad", ["bad", "good"]),
        ],
    ),
    "tolerant": (
        {"failFast": False},
        [
            _stage("allowed", (), "--fails", "always", allowFailure=True),
            _stage("after-allowed", ["allowed"]),
            _stage("bad", (), "--fails", "always"),
            _stage("after-bad", ["bad"]),
        ],
    ),
    "alone": ({"concurrency": {"policy": "QUEUE"}}, [_stage("x"), _stage("y", ["x"])]),
}
"""Config and stages by name."""


def draft(name: str, ledger: Path) -> dict[str, Any]:
    """The input of createPipeline."""
    config, stages = PIPELINES[name]
    return {"name": name, "config": config, "stages": [_stage_draft(stage, ledger) for stage in stages]}


def _stage_draft(stage: Mapping[str, Any], ledger: Path) -> dict[str, Any]:
    command = [sys.executable, "-I", "-S", str(PROGRAM), str(ledger), *stage["options"]]
    return {
        "name": stage["name"],
        "stageType": "DATA_PREPROCESSING",
        "dependencies": list(stage["needs"]),
        "config": {"command": command, **stage["config"]},
    }
