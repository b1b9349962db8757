"""``mlp lineage`` against a running server."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

from tests.cli.conftest import TOKEN, Server

SPLIT = 'mkdir -p "$MLP_OUTPUT_DIR/datasets" && echo a,b > "$MLP_OUTPUT_DIR/datasets/train.csv"'
TRAIN = """
mkdir -p "$MLP_OUTPUT_DIR/models" && echo weights > "$MLP_OUTPUT_DIR/models/churn.bin"
printf '{"artifacts": [{"path": "models/churn.bin", "name": "churn [v1]", "model": {"trainingDataset":
"split/datasets/train.csv"}}]}' > "$MLP_OUTPUT_DIR/artifacts.json"
"""


def ask(server: Server, query: str) -> Any:
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(
        server.url + "/graphql",
        body,
        {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"},
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)["data"]


def test_a_model_shows_what_it_was_made_from_and_a_dataset_what_was_made_of_it(
    server: Server, tmp_path: Path
) -> None:
    port = server.url.rsplit(":", 1)[1]
    split = {"name": "split", "stageType": "DATA_SPLITTING", "config": {"command": SPLIT}}
    train = {"name": "train", "stageType": "MODEL_TRAINING", "config": {"command": TRAIN}}
    file = tmp_path / "lineage.yaml"
    file.write_text(json.dumps({"name": "lineage", "stages": [split, {**train, "dependencies": ["split"]}]}))
    assert server.mlp("run", file, PORT=port).returncode == 0
    data = ask(server, "{ models(first: 1) { nodes { id trainingDataset { artifact { id } } } } }")
    model = data["models"]["nodes"][0]
    shown = server.mlp("lineage", model["id"], PORT=port)
    assert shown.returncode == 0, shown.stderr
    lines = re.sub(r", run \S+", "", shown.stdout).splitlines()
    assert lines == [
        "churn [v1] (model, models/churn.bin)",
        "├── stage train of lineage",
        "│   └── datasets/train.csv (dataset)",
        "│       └── stage split",
        "└── datasets/train.csv (dataset) (above)",
    ]
    ahead = server.mlp("lineage", model["trainingDataset"]["artifact"]["id"], "--downstream", PORT=port)
    assert "churn [v1] (model, models/churn.bin)" in ahead.stdout


def test_an_unknown_model_is_named(server: Server) -> None:
    refused = server.mlp("lineage", "0191b3c4-0000-7000-8000-000000000000", PORT=server.url.rsplit(":", 1)[1])
    assert refused.returncode == 2
    assert "there is no model, dataset, artifact or stage run 0191b3c4-" in refused.stderr
