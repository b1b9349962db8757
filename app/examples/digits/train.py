"""Train: one model, step by step, with its curves live. `algorithm` and `hyperparameters` choose it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from stagekit import input_file, log_metrics, output_file, params, write_json, write_metrics, write_result
from tables import Table, read_table

PROGRESS_LINES = 10


def logistic_regression(train: Table, settings: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    """One-versus-rest logistic regression by stochastic gradient descent; a step is an epoch."""
    model = SGDClassifier(loss="log_loss", random_state=settings["seed"], **settings["hyperparameters"])
    for epoch in range(1, settings["steps"] + 1):
        model.partial_fit(train.features, train.labels, classes=np.unique(train.labels))
        yield epoch, model


def gradient_boosting(train: Table, settings: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    """Boosted trees; a step is one round, which adds a tree per class."""
    model = GradientBoostingClassifier(
        warm_start=True, random_state=settings["seed"], **settings["hyperparameters"]
    )
    for rounds in range(1, settings["steps"] + 1):
        model.set_params(n_estimators=rounds).fit(train.features, train.labels)
        yield rounds, model


ALGORITHMS = {"logistic regression": logistic_regression, "gradient boosting": gradient_boosting}


def measure(model: Any, train: Table, validation: Table) -> dict[str, float]:
    return {
        "train_loss": float(log_loss(train.labels, model.predict_proba(train.features))),
        "validation_loss": float(log_loss(validation.labels, model.predict_proba(validation.features))),
        "validation_accuracy": float(model.score(validation.features, validation.labels)),
    }


def publish(model: Any, settings: dict[str, Any], metrics: dict[str, float]) -> None:
    target = output_file(
        "models/model.joblib",
        name=f"Digits {settings['algorithm']}",
        type="MODEL",
        description=f"{settings['algorithm'].capitalize()} after {settings['steps']} steps",
        model={
            "modelType": "classifier",
            "algorithm": type(model).__name__,
            "framework": "scikit-learn",
            "modelFormat": "joblib",
            "trainingDataset": "split/datasets/train.csv",
            "trainingConfig": {key: settings[key] for key in ("steps", "seed", "hyperparameters")},
            "metrics": metrics,
        },
    )
    joblib.dump(model, target, compress=3)
    print(f"wrote {target.name}, {target.stat().st_size / 1024:.0f} KiB")


def main() -> None:
    settings = params()
    algorithm, steps = settings["algorithm"], settings["steps"]
    if algorithm not in ALGORITHMS:
        sys.exit(f"unknown algorithm {algorithm!r}; known: {', '.join(ALGORITHMS)}")
    train = read_table(input_file("split/datasets/train.csv"))
    validation = read_table(input_file("split/datasets/validation.csv"))
    print(f"training {algorithm} on {len(train.labels)} images, {steps} steps")

    history = []
    for step, model in ALGORITHMS[algorithm](train, settings):
        metrics = measure(model, train, validation)
        log_metrics(step, **metrics)
        history.append({"step": step, **metrics})
        if step % max(1, steps // PROGRESS_LINES) == 0 or step == steps:
            print(
                f"step {step}/{steps}  " + "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            )

    publish(model, settings, metrics)
    summary = {
        "algorithm": algorithm,
        "steps": steps,
        "seed": settings["seed"],
        "hyperparameters": settings["hyperparameters"],
        "history": history,
    }
    write_json("reports/training.json", summary, name="Training history", type="REPORT")
    write_metrics(metrics)
    write_result(algorithm=algorithm, **metrics)


if __name__ == "__main__":
    main()
