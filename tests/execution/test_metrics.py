"""The metrics of a stage: those it reports while it runs, its final file, and unreadable lines."""

from __future__ import annotations

import json
from pathlib import Path

from app.domain.outcomes import UNREADABLE_LINES
from app.domain.vocabulary import RunStatus
from app.execution.metric_reader import NAMES_LIMIT, READ_BYTES, MetricReader
from app.open_files import read_plain
from tests.execution.conftest import Engine, python, stage

REPORTS = """
import json, os
lines = [{"name": "loss", "value": 0.5, "step": 1}, {"name": "loss", "value": 0.25, "step": 2},
         {"name": "loss", "value": 9.0, "step": 0}, {"name": "acc", "value": 0.1}]
with open(os.environ["MLP_METRICS"], "a") as file:
    print(*map(json.dumps, lines), sep="\\n", file=file)
"""
WRITES = """
import os
open(os.environ["MLP_OUTPUT_DIR"] + "/metrics.json", "w").write('{"acc": NaN, "huge": 1e999, "f1": 0.75}')
"""


def line(name: str, value: float, step: int = 0) -> bytes:
    return json.dumps({"name": name, "value": value, "step": step}).encode() + b"\n"


async def test_the_last_values_that_a_stage_reported_are_its_metrics(idle: Engine) -> None:
    run_id = await idle.start(stage("train", python(REPORTS)))
    async with idle.supervised():
        assert (await idle.finished(run_id)).status is RunStatus.COMPLETED
    assert (await idle.stages(run_id))["train"].metrics == {"loss": 0.25, "acc": 0.1}


async def test_final_metrics_overrule_reported_ones_and_special_numbers_are_written_by_name(
    idle: Engine,
) -> None:
    """A training that diverged has ended well all the same."""
    run_id = await idle.start(stage("train", python(REPORTS + WRITES)))
    async with idle.supervised():
        assert (await idle.finished(run_id)).status is RunStatus.COMPLETED
    metrics = (await idle.stages(run_id))["train"].metrics
    assert metrics == {"loss": 0.25, "acc": "NaN", "huge": "Infinity", "f1": 0.75}


async def test_lines_that_are_no_metric_are_counted(idle: Engine) -> None:
    run_id = await idle.start(stage("train", "printf 'acc=1\\n\\n{\\n' > $MLP_METRICS"))
    async with idle.supervised():
        assert (await idle.finished(run_id)).status is RunStatus.COMPLETED
    train = (await idle.stages(run_id))["train"]
    (attempt,) = await idle.attempts(train.id)
    assert (train.metrics, attempt.evidence[UNREADABLE_LINES]) == (None, 2)


def reader_of(path: Path, offset: int) -> MetricReader:
    async def read(position: int, limit_bytes: int) -> bytes:
        return read_plain(path, limit_bytes, position)

    return MetricReader(read, offset)


async def test_a_reader_that_goes_on_where_another_one_was_knows_what_that_one_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    before = line("loss", 0.5, 1) + b"bad\n" + line("acc", 0.1)
    path.write_bytes(before + line("loss", 0.25, 2))
    reader = reader_of(path, len(before))
    points, offset = await reader.read(len(before), to_the_end=True)
    assert [point.value for point in points] == [0.25]
    assert offset == path.stat().st_size
    assert {name: point.value for name, point in reader.last_points.items()} == {"loss": 0.25, "acc": 0.1}
    assert reader.unreadable_lines == 1


async def test_a_file_that_has_become_shorter_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line("loss", 0.5))
    reader = reader_of(path, 10_000)
    assert await reader.read(10_000, to_the_end=True) == ((), 10_000)
    assert list(reader.last_points) == ["loss"]


async def test_every_point_of_a_large_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    count = 3 * READ_BYTES // len(line("x", 1, 100_000))
    path.write_bytes(b"".join(line("x", 1, 100_000 + number) for number in range(count)))
    reader, steps, offset = reader_of(path, 0), list[int](), 0
    while offset < path.stat().st_size:
        points, offset = await reader.read(offset, to_the_end=True)
        steps += [point.step for point in points]
    assert steps == list(range(100_000, 100_000 + count))


async def test_a_stage_with_countless_metrics_does_not_fill_its_row(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"".join(line(f"m{number}", number) for number in range(2 * NAMES_LIMIT)))
    reader = reader_of(path, 0)
    points, _ = await reader.read(0, to_the_end=True)
    assert (len(points), len(reader.last_points)) == (2 * NAMES_LIMIT, NAMES_LIMIT)
