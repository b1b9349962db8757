"""Validate: checks the data. Exit code 1 if a check fails."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from stagekit import input_file, params, write_json, write_metrics, write_result
from tables import BRIGHTEST, LABEL, PIXELS

Cells = np.ndarray[Any, Any]
CLASSES = 10


class Check(NamedTuple):
    """A rule with the expected and the actual values."""

    name: str
    expected: str
    observed: float
    passed: bool


def read_cells(path: Path) -> tuple[list[str], Cells]:
    """The header and every cell as a number; NaN for a cell that is missing or no number."""
    with path.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    width = len(PIXELS) + 1
    return header, np.array([[_number(cell) for cell in (row + [""] * width)[:width]] for row in rows])


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def shape_checks(header: list[str], cells: Cells, minimum_rows: int) -> Iterator[Check]:
    wanted = [*PIXELS, LABEL]
    yield Check("columns", f"the {len(wanted)} known columns", len(header), header == wanted)
    yield Check("rows", f"at least {minimum_rows}", len(cells), len(cells) >= minimum_rows)
    nulls = int(np.isnan(cells).sum())
    yield Check("nulls", "no empty or unreadable cell", nulls, nulls == 0)


def value_checks(cells: Cells, limits: dict[str, float]) -> Iterator[Check]:
    pixels, labels = cells[:, :-1], cells[:, -1]
    outside = int(((pixels < 0) | (pixels > BRIGHTEST)).sum())
    yield Check("pixel range", f"all of 0 to {BRIGHTEST}", outside, outside == 0)
    strange = int((~np.isin(labels, range(CLASSES))).sum())
    yield Check("label range", f"all of 0 to {CLASSES - 1}", strange, strange == 0)

    duplicates = 1 - len(np.unique(cells, axis=0)) / len(cells)
    allowed = limits["maximumDuplicateShare"]
    yield Check("duplicates", f"share up to {allowed}", round(duplicates, 4), duplicates <= allowed)

    counts = Counter(labels.tolist())
    balance = min(counts.values()) / max(counts.values()) if len(counts) == CLASSES else 0.0
    least = limits["minimumClassBalance"]
    yield Check("class balance", f"rarest to commonest at least {least}", round(balance, 4), balance >= least)

    agreement = neighbour_agreement(pixels, labels)
    least = limits["minimumLabelAgreement"]
    yield Check(
        "label agreement", f"nearest image, at least {least}", round(agreement, 4), agreement >= least
    )


def neighbour_agreement(pixels: Cells, labels: Cells) -> float:
    """Share of the images whose nearest other image has the same label: low when labels are wrong."""
    squares = (pixels**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * pixels @ pixels.T
    np.fill_diagonal(distances, np.inf)
    return float((labels[distances.argmin(axis=1)] == labels).mean())


def main() -> None:
    header, cells = read_cells(input_file("ingest/datasets/digits.csv"))
    limits = params()
    checks = list(shape_checks(header, cells, limits["minimumRows"]))
    if all(check.passed for check in checks):
        checks += value_checks(cells, limits)

    for check in checks:
        print(f"{'ok    ' if check.passed else 'FAILED'} {check.name}: {check.observed} ({check.expected})")
    failed = [check.name for check in checks if not check.passed]
    verdict = {"passed": not failed, "checks": [check._asdict() for check in checks]}
    write_json("reports/validation.json", verdict, name="Validation report", type="REPORT")
    write_metrics({"checks_passed": len(checks) - len(failed), "checks_failed": len(failed)})
    write_result(passed=not failed, failed=failed)
    if failed:
        sys.exit(f"the data was refused: {', '.join(failed)}")


if __name__ == "__main__":
    main()
