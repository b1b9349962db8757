"""The digits example: every stage runs as a process, every output is checked."""

from __future__ import annotations

import base64
import csv
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pytest
from pipeline_harness import EXAMPLES, Pipeline, StageOutcome
from png_reader import read_png

from app.domain.input.manifest import parse_manifest
from app.domain.stage_reports import parse_final_metrics, parse_metric_lines
from app.domain.vocabulary import EXPECTED_ARTIFACTS, ArtifactType, StageType

pytestmark = pytest.mark.timeout(300)

TRAINING = ("train-logistic", "train-boosting")
EVALUATION = ("evaluate-logistic", "evaluate-boosting")
Rows = list[list[str]]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline(EXAMPLES / "digits" / "pipeline.yaml", tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def outcomes(pipeline: Pipeline) -> dict[str, StageOutcome]:
    return {name: pipeline.run(name) for name in pipeline.order()}


def test_every_stage_succeeds_with_a_log_and_without_warnings(outcomes: dict[str, StageOutcome]) -> None:
    for outcome in outcomes.values():
        assert outcome.exit_code == 0, outcome.log
        assert outcome.log.strip()
        assert "warning" not in outcome.log.lower()


def test_the_manifest_lists_exactly_the_outputs(outcomes: dict[str, StageOutcome]) -> None:
    for outcome in outcomes.values():
        files = {str(file.relative_to(outcome.out)) for file in outcome.out.rglob("*") if file.is_file()}
        paths = [artifact["path"] for artifact in outcome.manifest()]
        assert Counter(paths) == Counter(files - {"artifacts.json"})
        manifest = parse_manifest((outcome.out / "artifacts.json").read_bytes(), files)
        assert all(entry.name and entry.type for entry in manifest.entries.values())


def test_every_stage_makes_the_artifacts_expected_of_its_type(
    pipeline: Pipeline, outcomes: dict[str, StageOutcome]
) -> None:
    for name, outcome in outcomes.items():
        made = {ArtifactType(artifact["type"]) for artifact in outcome.manifest()}
        assert made >= EXPECTED_ARTIFACTS[StageType(pipeline.stages[name]["stageType"])], name


def test_every_stage_leaves_finite_numbers_and_a_result(outcomes: dict[str, StageOutcome]) -> None:
    for outcome in outcomes.values():
        metrics = parse_final_metrics((outcome.out / "metrics.json").read_bytes())
        assert metrics == outcome.json("out/metrics.json")
        assert all(math.isfinite(value) for value in metrics.values())
        assert outcome.json("stage_result.json")


def test_the_splits_share_no_row_and_lose_none(outcomes: dict[str, StageOutcome]) -> None:
    parts = [
        _rows(outcomes["split"].out / f"datasets/{name}.csv") for name in ("train", "validation", "test")
    ]
    everything = _rows(outcomes["preprocess"].out / "datasets/features.csv")
    headers, bodies = {tuple(part[0]) for part in parts}, [row for part in parts for row in part[1:]]
    assert headers == {tuple(everything[0])}
    assert sorted(bodies) == sorted(everything[1:])


@pytest.mark.parametrize("stage", TRAINING)
def test_training_reports_a_point_per_step_and_learns(
    pipeline: Pipeline, outcomes: dict[str, StageOutcome], stage: str
) -> None:
    steps = pipeline.stages[stage]["config"]["params"]["steps"]
    curves: dict[str, list[float]] = {}
    lines = (outcomes[stage].folder / "metrics.jsonl").read_bytes().splitlines()
    assert parse_metric_lines(lines).bad_line_count == 0
    for point in outcomes[stage].points():
        curves.setdefault(point["name"], []).append(point["value"])
        assert point["step"] == len(curves[point["name"]])
    assert {name: len(values) for name, values in curves.items()} == dict.fromkeys(
        ("train_loss", "validation_loss", "validation_accuracy"), steps
    )
    assert curves["train_loss"][-1] < curves["train_loss"][0] / 2
    assert curves["validation_accuracy"][-1] > curves["validation_accuracy"][0]


@pytest.mark.parametrize("stage", TRAINING)
def test_a_trained_model_names_the_dataset_it_learned_from(
    outcomes: dict[str, StageOutcome], stage: str
) -> None:
    outcome = outcomes[stage]
    (artifact,) = [artifact for artifact in outcome.manifest() if artifact["type"] == "MODEL"]
    model = joblib.load(outcome.out / artifact["path"])
    assert artifact["model"]["algorithm"] == type(model).__name__
    assert artifact["model"]["metrics"] == outcome.json("out/metrics.json")
    assert (outcome.folder / "inputs" / artifact["model"]["trainingDataset"]).is_file()


def test_the_same_seed_trains_the_same_model(pipeline: Pipeline, outcomes: dict[str, StageOutcome]) -> None:
    again = pipeline.run("train-logistic", "again")
    other = pipeline.run("train-logistic", "other-seed", seed=8)
    assert again.points() == outcomes["train-logistic"].points()
    assert other.points() != again.points()


@pytest.mark.parametrize("stage", EVALUATION)
def test_the_accuracy_is_that_of_the_model_on_the_test_set(
    pipeline: Pipeline, outcomes: dict[str, StageOutcome], stage: str
) -> None:
    trained = outcomes[stage].json("stage_result.json")["trainedBy"]
    model = joblib.load(outcomes[trained].out / "models/model.joblib")
    test = np.array(_rows(outcomes["split"].out / "datasets/test.csv")[1:], dtype=float)
    accuracy = outcomes[stage].json("out/metrics.json")["accuracy"]
    assert accuracy == pytest.approx((model.predict(test[:, :-1]) == test[:, -1]).mean())
    assert accuracy >= pipeline.config["params"]["minimumAccuracy"]


@pytest.mark.parametrize("stage", EVALUATION)
def test_the_confusion_matrix_is_a_picture_with_a_blue_diagonal(
    outcomes: dict[str, StageOutcome], stage: str
) -> None:
    picture = read_png((outcomes[stage].out / "plots/confusion.png").read_bytes())
    matrix = np.array(outcomes[stage].json("out/reports/evaluation.json")["confusion"])
    corners = np.array(
        [
            [picture.pixel(104 + 64 * column + 6, 128 + 64 * row + 6) for column in range(10)]
            for row in range(10)
        ]
    ).astype(int)
    assert matrix.sum() == len(_rows(outcomes["split"].out / "datasets/test.csv")) - 1
    reddish = corners[..., 0] - corners[..., 2]
    mistakes = (matrix > 0) & ~np.eye(10, dtype=bool)
    assert ((reddish > 20) == mistakes).all()
    assert (np.diagonal(reddish) < -50).all()


def test_the_average_digits_are_drawn_in_blue(outcomes: dict[str, StageOutcome]) -> None:
    picture = read_png((outcomes["explore"].out / "plots/average_digits.png").read_bytes())
    data = np.array(_rows(outcomes["ingest"].out / "datasets/digits.csv")[1:], dtype=float)
    for digit in range(10):
        left, top = 24 + 152 * (digit % 5), 24 + 192 * (digit // 5)
        drawn = [picture.pixel(left + 16 * x + 8, top + 16 * y + 8)[0] for y in range(8) for x in range(8)]
        ink = data[data[:, -1] == digit][:, :-1].mean(axis=0) / 16
        assert drawn == pytest.approx(list(255 + (29 - 255) * ink), abs=1)


def test_the_comparison_ranks_the_most_accurate_model_first(outcomes: dict[str, StageOutcome]) -> None:
    accuracies = {
        outcomes[stage].json("stage_result.json")["trainedBy"]: outcomes[stage].json("out/metrics.json")[
            "accuracy"
        ]
        for stage in EVALUATION
    }
    comparison = outcomes["compare"].json("out/reports/comparison.json")
    assert comparison["winner"] == max(accuracies, key=lambda stage: accuracies[stage])
    assert comparison["gain"] == pytest.approx(max(accuracies.values()) - min(accuracies.values()))
    assert 0 < comparison["chanceOfLuck"] <= 1


def test_the_report_needs_no_other_file(outcomes: dict[str, StageOutcome]) -> None:
    page = (outcomes["compare"].out / "reports/comparison.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == len(EVALUATION)
    for source in sources:
        header, data = source.split(",")
        assert header == "data:image/png;base64"
        read_png(base64.b64decode(data))
    assert not re.search(r"https?://|url\(|@import|<script|\$\w", page)


def test_the_registered_model_is_the_winner_with_a_card(outcomes: dict[str, StageOutcome]) -> None:
    winner = outcomes["compare"].json("stage_result.json")["winner"]
    registered = outcomes["register"].out / "models/digits-classifier.joblib"
    assert registered.read_bytes() == (outcomes[winner].out / "models/model.joblib").read_bytes()
    accuracy = outcomes["register"].json("out/configs/model_card.json")["metrics"]["accuracy"]
    assert (
        f"| accuracy | {accuracy:.4f} |" in (outcomes["register"].out / "reports/model_card.md").read_text()
    )


def test_the_answer_in_the_readme_is_true(outcomes: dict[str, StageOutcome]) -> None:
    readme = (EXAMPLES.parents[1] / "README.md").read_text()
    [text] = re.findall(r"```json\n(.*?)```", readme, re.DOTALL)
    [shown] = json.loads(text)["data"]["models"]["nodes"]
    [entry] = [entry for entry in outcomes["register"].manifest() if entry["type"] == "MODEL"]
    metrics = {**entry["model"]["metrics"], **outcomes["register"].json("out/metrics.json")}
    assert shown["algorithm"] == entry["model"]["algorithm"]
    assert shown["metrics"] == pytest.approx(
        metrics, rel=0.05
    )  # other versions of the libraries round differently
    assert shown["artifact"]["name"] == entry["name"]
    assert shown["artifact"]["fileSize"] == pytest.approx(
        (outcomes["register"].out / entry["path"]).stat().st_size, rel=0.05
    )
    stage, _, path = entry["model"]["trainingDataset"].partition("/")
    table = _rows(outcomes[stage].out / path)
    [dataset] = [entry for entry in outcomes[stage].manifest() if entry["path"] == path]
    assert shown["trainingDataset"] == {
        "rowCount": len(table) - 1,
        "columnCount": len(table[0]),
        "artifact": {"name": dataset["name"]},
    }


def test_register_refuses_a_model_below_the_minimum(
    pipeline: Pipeline, outcomes: dict[str, StageOutcome]
) -> None:
    refused = pipeline.run("register", "strict", minimumAccuracy=0.999)
    assert refused.exit_code == 1
    assert "below 0.999" in refused.log
    assert not list(refused.out.rglob("*"))


def test_register_refuses_a_model_with_another_accuracy_than_claimed(
    pipeline: Pipeline, outcomes: dict[str, StageOutcome]
) -> None:
    folder = pipeline.prepare("register", "swapped")
    models = [folder / f"inputs/{stage}/models/model.joblib" for stage in TRAINING]
    contents = [model.read_bytes() for model in models]
    for model, content in zip(models, reversed(contents), strict=True):
        model.write_bytes(content)
    refused = pipeline.run_in(folder, "register")
    assert refused.exit_code == 1
    assert "the copied model shows" in refused.log


def test_training_refuses_an_unknown_algorithm(pipeline: Pipeline, outcomes: dict[str, StageOutcome]) -> None:
    refused = pipeline.run("train-logistic", "unknown", algorithm="astrology")
    assert refused.exit_code == 1
    assert "unknown algorithm 'astrology'" in refused.log


def _blank_a_cell(rows: Rows) -> None:
    rows[10][20] = ""


def _rename_a_column(rows: Rows) -> None:
    rows[0][3] = "surprise"


def _keep_few_rows(rows: Rows) -> None:
    del rows[500:]


def _overexpose_a_pixel(rows: Rows) -> None:
    rows[10][20] = "99"


def _invent_a_digit(rows: Rows) -> None:
    rows[10][-1] = "11"


def _repeat_rows(rows: Rows) -> None:
    rows += rows[1:200]


def _drop_most_threes(rows: Rows) -> None:
    threes = [row for row in rows[1:] if row[-1] == "3"]
    for row in threes[:60]:
        rows.remove(row)


def _mislabel_rows(rows: Rows) -> None:
    for row in rows[1:200]:
        row[-1] = str((int(row[-1]) + 1) % 10)


@pytest.mark.parametrize(
    ("corrupt", "check"),
    [
        (_blank_a_cell, "nulls"),
        (_rename_a_column, "columns"),
        (_keep_few_rows, "rows"),
        (_overexpose_a_pixel, "pixel range"),
        (_invent_a_digit, "label range"),
        (_repeat_rows, "duplicates"),
        (_drop_most_threes, "class balance"),
        (_mislabel_rows, "label agreement"),
    ],
)
def test_validation_fails_on_corrupted_data(
    pipeline: Pipeline, outcomes: dict[str, StageOutcome], corrupt: Callable[[Rows], None], check: str
) -> None:
    folder = pipeline.prepare("validate", check)
    dataset = folder / "inputs/ingest/datasets/digits.csv"
    rows = _rows(dataset)
    corrupt(rows)
    with dataset.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)

    refused = pipeline.run_in(folder, "validate")
    report = refused.json("out/reports/validation.json")
    assert refused.exit_code == 1
    assert f"FAILED {check}" in refused.log
    assert report["passed"] is False
    assert check in refused.json("stage_result.json")["failed"]


def _rows(file: Path) -> Rows:
    with file.open(newline="") as stream:
        return list(csv.reader(stream))
