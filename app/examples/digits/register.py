"""Register: publishes the winner with its model card, or refuses a model below `minimumAccuracy`."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

import joblib
from sklearn.metrics import accuracy_score
from stagekit import input_file, output_file, params, write_json, write_metrics, write_result
from tables import read_table

MODEL_NAME = "digits-classifier"
TRAINING_DATASET = "split/datasets/train.csv"


def publish_model(winner: dict[str, Any]) -> float:
    """Copies the winner's file and returns its accuracy on the test set."""
    target = output_file(
        f"models/{MODEL_NAME}.joblib",
        name=MODEL_NAME,
        type="MODEL",
        description=f"The registered model: {winner['algorithm']} of {winner['winner']}",
        metadata={"trainedBy": winner["winner"], "registered": True},
        model={
            "modelType": "classifier",
            "algorithm": winner["algorithm"],
            "framework": "scikit-learn",
            "modelFormat": "joblib",
            "trainingDataset": TRAINING_DATASET,
            "trainingConfig": {"seed": winner["seed"], "hyperparameters": winner["hyperparameters"]},
            "metrics": winner["metrics"],
        },
    )
    shutil.copyfile(input_file(f"{winner['winner']}/models/model.joblib"), target)
    test = read_table(input_file("split/datasets/test.csv"))
    return float(accuracy_score(test.labels, joblib.load(target).predict(test.features)))


def markdown(card: dict[str, Any]) -> str:
    metrics = "\n".join(
        f"| {name.replace('_', ' ')} | {value:.4f} |" for name, value in card["metrics"].items()
    )
    settings = "\n".join(f"- {name}: {value}" for name, value in card["hyperparameters"].items())
    return (
        f"# {card['name']}\n\n"
        f"{card['algorithm'].capitalize()}, trained by the stage `{card['trainedBy']}` with seed {card['seed']}.\n\n"
        f"**Use:** {card['intendedUse']}\n\n**Limits:** {card['limits']}\n\n"
        f"## Metrics on the test set\n\n| metric | value |\n| --- | ---: |\n{metrics}\n\n"
        f"## Hyperparameters\n\n{settings}\n"
    )


def model_card(winner: dict[str, Any], minimum: float) -> dict[str, Any]:
    return {
        "name": MODEL_NAME,
        "algorithm": winner["algorithm"],
        "trainedBy": winner["winner"],
        "trainingDataset": TRAINING_DATASET,
        "seed": winner["seed"],
        "hyperparameters": winner["hyperparameters"],
        "metrics": winner["metrics"],
        "minimumAccuracy": minimum,
        "intendedUse": "reading single hand-written digits from 8x8 grey images with 0 to 16 ink per pixel.",
        "limits": "the test images come from the same 13 writers; expect less for a new hand or other pictures.",
    }


def main() -> None:
    winner = json.loads(input_file("compare/reports/comparison.json").read_text())
    accuracy, minimum = winner["metrics"]["accuracy"], params()["minimumAccuracy"]
    print(f"the winner is {winner['algorithm']} of {winner['winner']}: {accuracy:.4f}, needed {minimum}")
    if accuracy < minimum:
        sys.exit(f"refused: the accuracy {accuracy:.4f} is below {minimum}")

    reproduced = publish_model(winner)
    if reproduced != accuracy:
        sys.exit(f"refused: the copied model shows {reproduced:.4f} instead of {accuracy:.4f}")
    print(f"the copied model shows {reproduced:.4f} again")

    card = model_card(winner, minimum)
    write_json("configs/model_card.json", card, name="Model card (JSON)", type="CONFIG")
    output_file("reports/model_card.md", name="Model card", type="REPORT").write_text(markdown(card))
    write_metrics({"accuracy": reproduced, "margin": reproduced - minimum})
    write_result(registered=MODEL_NAME, trainedBy=winner["winner"], accuracy=reproduced)


if __name__ == "__main__":
    main()
