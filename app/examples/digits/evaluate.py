"""Evaluate: one trained model on the test set, which no earlier stage has used."""

from __future__ import annotations

import csv
import json
from typing import Any

import joblib
import numpy as np
from confusion import draw_confusion
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support
from stagekit import dependency_of, input_file, output_file, write_json, write_metrics, write_result
from tables import Table, read_table


def measure(test: Table, predicted: np.ndarray[Any, Any], chances: np.ndarray[Any, Any]) -> dict[str, float]:
    precision, recall, f1, _ = precision_recall_fscore_support(test.labels, predicted, average="macro")
    return {
        "accuracy": float(accuracy_score(test.labels, predicted)),
        "macro_precision": float(precision),
        "macro_recall": float(recall),
        "macro_f1": float(f1),
        "log_loss": float(log_loss(test.labels, chances)),
    }


def write_predictions(test: Table, predicted: np.ndarray[Any, Any], chances: np.ndarray[Any, Any]) -> None:
    target = output_file(
        "datasets/predictions.csv",
        name="Test predictions",
        type="DATASET",
        description="What the model said about each test image, and how sure it was",
        dataset={"format": "csv"},
    )
    with target.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["actual", "predicted", "confidence"])
        confidence = (f"{value:.4f}" for value in chances.max(axis=1))
        writer.writerows(zip(test.labels.tolist(), predicted.tolist(), confidence, strict=True))


def main() -> None:
    model_file = input_file("*/models/model.joblib")
    trained_by = dependency_of(model_file)
    training = json.loads(input_file(f"{trained_by}/reports/training.json").read_text())
    test = read_table(input_file("split/datasets/test.csv"))
    model = joblib.load(model_file)
    print(f"evaluating {training['algorithm']} of {trained_by} on {len(test.labels)} images")

    predicted, chances = model.predict(test.features), model.predict_proba(test.features)
    metrics = measure(test, predicted, chances)
    for name, value in metrics.items():
        print(f"{name:16} {value:.4f}")
    matrix = confusion_matrix(test.labels, predicted)
    mistakes = int(matrix.sum() - matrix.trace())
    print(f"{mistakes} mistakes")

    plot = output_file("plots/confusion.png", name=f"Confusion matrix, {training['algorithm']}", type="PLOT")
    subtitle = f"accuracy {metrics['accuracy']:.1%} - {mistakes} of {len(test.labels)} wrong"
    draw_confusion(matrix, training["algorithm"], subtitle).save(plot)
    write_predictions(test, predicted, chances)
    evaluation = {"trainedBy": trained_by, **training, "metrics": metrics, "confusion": matrix.tolist()}
    write_json("reports/evaluation.json", evaluation, name="Evaluation", type="REPORT")
    write_metrics({**metrics, "mistakes": mistakes})
    write_result(trainedBy=trained_by, accuracy=metrics["accuracy"], mistakes=mistakes)


if __name__ == "__main__":
    main()
