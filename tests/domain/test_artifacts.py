"""The rules for the types of output files, and the manifest that may describe them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.domain.artifacts import DatasetFacts, ManifestEntry, ModelFacts, artifact_type_of, complete
from app.domain.input.manifest import MANIFEST_LIMIT_BYTES, parse_manifest
from app.domain.vocabulary import ArtifactType
from app.errors import ErrorCode, InvalidInput


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("datasets/notes.txt", ArtifactType.DATASET),
        ("models/v1/weights.csv", ArtifactType.MODEL),
        ("plots/a/b/c.bin", ArtifactType.PLOT),
        ("metrics/x.html", ArtifactType.METRICS),
        ("reports/x.png", ArtifactType.REPORT),
        ("configs/x", ArtifactType.CONFIG),
        ("logs/x.csv", ArtifactType.LOG),
        ("train.csv", ArtifactType.DATASET),
        ("train.csv.gz", ArtifactType.DATASET),
        ("elsewhere/TRAIN.PARQUET", ArtifactType.DATASET),
        ("tree.joblib", ArtifactType.MODEL),
        ("net.safetensors", ArtifactType.MODEL),
        ("roc.svg", ArtifactType.PLOT),
        ("summary.md", ArtifactType.REPORT),
        ("settings.yaml", ArtifactType.CONFIG),
        ("run.log", ArtifactType.LOG),
        ("metrics.json", ArtifactType.METRICS),
        ("answer.json", ArtifactType.OTHER),
        ("datasets", ArtifactType.OTHER),
        ("sub/models/x.bin", ArtifactType.OTHER),
        (".csv", ArtifactType.OTHER),
        ("Makefile", ArtifactType.OTHER),
    ],
)
def test_the_type_comes_from_the_top_folder_else_the_name_else_the_extension(
    path: str, expected: ArtifactType
) -> None:
    assert artifact_type_of(path, None) is expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (ManifestEntry("plots/x.png", type=ArtifactType.REPORT), ArtifactType.REPORT),
        (ManifestEntry("plots/x.png", type=ArtifactType.REPORT, model=ModelFacts()), ArtifactType.REPORT),
        (ManifestEntry("plots/x.png", model=ModelFacts()), ArtifactType.MODEL),
        (ManifestEntry("plots/x.png", dataset=DatasetFacts()), ArtifactType.DATASET),
        (ManifestEntry("plots/x.png", name="only a name"), ArtifactType.PLOT),
    ],
)
def test_the_manifest_takes_precedence_over_the_path(entry: ManifestEntry, expected: ArtifactType) -> None:
    assert artifact_type_of(entry.path, entry) is expected


def test_facts_are_completed_and_never_overwritten() -> None:
    said = DatasetFacts(format="csv", row_count=0)
    seen = DatasetFacts(format="tsv", row_count=7, column_count=2)
    assert complete(said, seen) == DatasetFacts(format="csv", row_count=0, column_count=2)


def test_a_full_manifest_is_read() -> None:
    manifest = parse_manifest(
        json.dumps(
            {
                "artifacts": [
                    {
                        "path": "models/tree.joblib",
                        "name": "Penguin tree",
                        "type": "MODEL",
                        "description": "two\nlines",
                        "metadata": {"depth": 4},
                        "model": {
                            "modelType": "classifier",
                            "algorithm": "DecisionTreeClassifier",
                            "framework": "scikit-learn",
                            "modelFormat": "joblib",
                            "trainingDataset": "split/datasets/train.csv",
                            "trainingConfig": {"maxDepth": 4},
                            "metrics": {"accuracy": 0.97},
                            "register": "churn",
                            "aliases": ["candidate", "eu.candidate"],
                        },
                    },
                    {
                        "path": "datasets/train.csv",
                        "dataset": {
                            "format": "csv",
                            "rowCount": 344,
                            "columnCount": 1,
                            "schema": [{"name": "island", "type": "string", "nullable": False}],
                        },
                    },
                ]
            }
        ),
        ["models/tree.joblib", "datasets/train.csv", "other"],
    )
    assert manifest.entries["models/tree.joblib"] == ManifestEntry(
        path="models/tree.joblib",
        name="Penguin tree",
        type=ArtifactType.MODEL,
        description="two\nlines",
        metadata={"depth": 4},
        model=ModelFacts(
            model_type="classifier",
            algorithm="DecisionTreeClassifier",
            framework="scikit-learn",
            format="joblib",
            training_dataset="split/datasets/train.csv",
            training_config={"maxDepth": 4},
            metrics={"accuracy": 0.97},
            register="churn",
            aliases=["candidate", "eu.candidate"],
        ),
    )
    assert manifest.entries["datasets/train.csv"].dataset == DatasetFacts(
        "csv", 344, 1, [{"name": "island", "type": "string", "nullable": False}]
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"modelFormat": "onnx"}, "onnx"),
        ({"format": "onnx"}, "onnx"),
        ({"format": "pickle", "modelFormat": "onnx"}, "onnx"),
    ],
)
def test_the_format_of_a_model_has_two_spellings(given: dict[str, str], meant: str) -> None:
    text = json.dumps({"artifacts": [{"path": "m", "model": given}]})
    model = parse_manifest(text, ["m"]).entries["m"].model
    assert model is not None
    assert model.format == meant


def test_the_last_of_two_entries_for_a_file_counts() -> None:
    text = json.dumps({"artifacts": [{"path": "a", "name": "first"}, {"path": "a", "name": "second"}]})
    assert parse_manifest(text, ["a"]).entries["a"].name == "second"


def test_nan_becomes_a_text_that_can_be_stored() -> None:
    text = '{"artifacts": [{"path": "a", "metadata": {"loss": NaN, "note": "nul\\u0000"}}]}'
    assert parse_manifest(text, ["a"]).entries["a"].metadata == {"loss": "NaN", "note": "nul\ufffd"}


@pytest.mark.parametrize(
    ("entry", "path", "message"),
    [
        ({"path": "absent"}, "path", "'absent' is not a file in the output folder"),
        ({"path": "../a"}, "path", "is not a file in the output folder"),
        ({}, "path", "is missing"),
        ({"path": 7}, "path", "must be a text, not 7; quote it"),
        ({"path": "a", "type": "PICTURE"}, "type", "'PICTURE' is not one of MODEL, DATASET"),
        ({"path": "a", "name": ["x"]}, "name", "must be a text, not a list"),
        ({"path": "a", "name": "x" * 256}, "name", "at most 255 characters"),
        ({"path": "a", "metadata": []}, "metadata", "must be an object"),
        ({"path": "a", "model": "tree"}, "model", "must be an object"),
        ({"path": "a", "model": {"algorithm": 1}}, "model.algorithm", "must be a text"),
        ({"path": "a", "model": {"modeltype": "x"}}, "model.modeltype", "did you mean 'modelType'?"),
        ({"path": "a", "dataset": {"rowCount": -1}}, "dataset.rowCount", "between 0 and"),
        ({"path": "a", "dataset": {"schema": {}}}, "dataset.schema", "must be a list of objects"),
        ("a", "", "must be an object, not a text"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_path(entry: Any, path: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_manifest(json.dumps({"artifacts": [{"path": "a"}, entry]}), ["a"])
    problem = refused.value.problems[0]
    assert ".".join(problem.path) == f"artifacts.1.{path}".rstrip(".")
    assert message in problem.message
    assert problem.code is ErrorCode.INVALID_SPECIFICATION


def test_all_problems_are_reported_at_once_up_to_a_limit() -> None:
    text = json.dumps({"artifacts": [{"path": f"absent-{number}"} for number in range(1000)]})
    with pytest.raises(InvalidInput) as refused:
        parse_manifest(text, [])
    assert len(refused.value.problems) == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "artifacts.json: not JSON"),
        ("[]", "artifacts.json: must be a JSON object"),
        ('{"artifacts": {}}', "artifacts: must be a list"),
        (b'{"artifacts": "\xff"}', "artifacts.json: not UTF-8"),
        ("[" * 100_000, "artifacts.json: nested deeper"),
        ('{"a":' * 70 + "1" + "}" * 70, "artifacts.json: nested deeper"),
        ("1" * 5000, "artifacts.json: not JSON"),
        (" " * (MANIFEST_LIMIT_BYTES + 1), "artifacts.json: larger than"),
    ],
)
def test_what_is_no_manifest_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse_manifest(text, [])


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ({"register": "a/b"}, "register"),
        ({"register": 7}, "register"),
        ({"aliases": ["candidate"]}, "aliases"),
        ({"register": "churn", "aliases": "candidate"}, "aliases"),
        ({"register": "churn", "aliases": ["a"] * 21}, "aliases"),
        ({"register": "churn", "aliases": ["candidate", "v3"]}, "aliases.1"),
        ({"register": "churn", "aliases": [None, "a\0b"]}, "aliases.1"),
    ],
)
def test_a_name_that_a_model_cannot_be_registered_under_is_refused(model: dict[str, Any], path: str) -> None:
    text = json.dumps({"artifacts": [{"path": "m.bin", "model": model}]})
    with pytest.raises(InvalidInput) as refusal:
        parse_manifest(text, ["m.bin"])
    wanted = ("artifacts", "0", "model", *path.split("."))
    assert [problem.path for problem in refusal.value.problems] == [wanted]
