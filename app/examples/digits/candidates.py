"""The evaluated models that are compared, each with the outputs of its evaluation stage."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from stagekit import inputs


class Candidate(NamedTuple):
    """A model: its training, its metrics, and for each test image whether its answer is correct."""

    trained_by: str
    algorithm: str
    seed: int
    hyperparameters: dict[str, Any]
    metrics: dict[str, float]
    history: list[dict[str, float]]
    right: list[bool]
    plot: Path


def ranked_candidates() -> list[Candidate]:
    """Every evaluated model, the most accurate first; the lower loss decides between equals."""
    candidates = [_read(evaluation.parents[1]) for evaluation in inputs("*/reports/evaluation.json")]
    return sorted(candidates, key=lambda one: (-one.metrics["accuracy"], one.metrics["log_loss"]))


def chance_of_luck(first: Candidate, second: Candidate) -> float:
    """McNemar's exact test: how likely two equally good models differ at least this much on this test set."""
    pairs = list(zip(first.right, second.right, strict=True))
    only_first, only_second = pairs.count((True, False)), pairs.count((False, True))
    total, fewer = only_first + only_second, min(only_first, only_second)
    return min(1.0, 2 * sum(math.comb(total, wins) for wins in range(fewer + 1)) / (1 << total))


def _read(folder: Path) -> Candidate:
    evaluation = json.loads((folder / "reports/evaluation.json").read_text())
    with (folder / "datasets/predictions.csv").open(newline="") as stream:
        right = [row["actual"] == row["predicted"] for row in csv.DictReader(stream)]
    return Candidate(
        trained_by=evaluation["trainedBy"],
        algorithm=evaluation["algorithm"],
        seed=evaluation["seed"],
        hyperparameters=evaluation["hyperparameters"],
        metrics=evaluation["metrics"],
        history=evaluation["history"],
        right=right,
        plot=folder / "plots/confusion.png",
    )
