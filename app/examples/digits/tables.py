"""The datasets of this example: CSV with one row per image and the label in the last column."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from stagekit import output_file

LABEL = "digit"
SIDE = 8
BRIGHTEST = 16
PIXELS = [f"pixel_{row}_{column}" for row in range(SIDE) for column in range(SIDE)]


class Table(NamedTuple):
    """Features as a float matrix, labels as an integer vector of the same length."""

    columns: list[str]
    features: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]


def read_table(path: Path) -> Table:
    """Reads a CSV written by `write_table`."""
    with path.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    cells = np.array(rows, dtype=float)
    return Table(header[:-1], cells[:, :-1], cells[:, -1].astype(int))


def write_table(path: str, table: Table, description: str) -> None:
    """Writes a table as a dataset."""
    name = Path(path).stem
    target = output_file(
        path,
        name=f"Digits: {name}",
        type="DATASET",
        description=description,
        metadata={"rows": len(table.labels), "columns": len(table.columns) + 1, "label": LABEL},
        dataset={"format": "csv"},
    )
    with target.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*table.columns, LABEL])
        for features, label in zip(table.features, table.labels, strict=True):
            writer.writerow([*(f"{value:g}" for value in features), int(label)])
