"""Whole runs: what a user starts is executed by real processes and ends as the stages did."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import sqlalchemy as sa

from app.database.tables import datasets, metric_points, models, resource_samples
from app.domain.vocabulary import FinishReason, RunStatus, StageStatus
from app.execution.executors.by_name import Executors
from app.execution.executors.local import LocalExecutor
from tests.execution.conftest import Engine, python, stage


async def test_a_run_of_one_stage_completes_with_its_log_and_outputs(idle: Engine) -> None:
    code = "import os; print('hello'); open(os.environ['MLP_OUTPUT_DIR'] + '/note.txt', 'w').write('hi')"
    async with idle.supervised():
        run_id = await idle.start(stage("only", python(code)))
        run = await idle.finished(run_id)
    only = (await idle.stages(run_id))["only"]
    assert (run.status, run.success_count, run.failed_count) == (RunStatus.COMPLETED, 1, 0)
    assert (only.status, only.attempt_number, only.exit_code) == (StageStatus.COMPLETED, 1, 0)
    assert await idle.log(only.id) == b"hello\n"
    assert set(await idle.artifacts(only.id)) == {"note.txt", "output.log"}


async def test_a_stage_finds_the_outputs_of_its_dependencies_as_its_inputs(idle: Engine) -> None:
    write = python("import os; open(os.environ['MLP_OUTPUT_DIR'] + '/data.csv', 'w').write('a,b\\n1,2\\n')")
    read = python("import os; print(open(os.environ['MLP_INPUTS'] + '/write/data.csv').read(), end='')")
    async with idle.supervised():
        run_id = await idle.start(stage("write", write), stage("read", read, needs=["write"]))
        run = await idle.finished(run_id)
    stages = await idle.stages(run_id)
    assert run.status is RunStatus.COMPLETED, run.error_message
    assert await idle.log(stages["read"].id) == b"a,b\n1,2\n"


async def test_a_failed_stage_skips_what_depends_on_it_and_fails_the_run(idle: Engine) -> None:
    async with idle.supervised():
        run_id = await idle.start(stage("bad", python("exit(3)")), stage("after", needs=["bad"]))
        run = await idle.finished(run_id)
    stages = await idle.stages(run_id)
    assert (run.status, run.error_message) == (
        RunStatus.FAILED,
        "stage 'bad' failed: the command exited with code 3",
    )
    assert (stages["bad"].status, stages["bad"].exit_code) == (StageStatus.FAILED, 3)
    assert (stages["after"].status, stages["after"].finish_reason) == (
        StageStatus.SKIPPED,
        FinishReason.UPSTREAM_FAILED,
    )


async def test_a_segfault_is_reported_by_its_signal(idle: Engine) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    async with idle.supervised():
        run_id = await idle.start(stage("crash", python(code)))
        await idle.finished(run_id)
    crash = (await idle.stages(run_id))["crash"]
    assert (crash.finish_reason, crash.signal) == (FinishReason.SIGNALED, signal.SIGSEGV)
    assert crash.error_message == "the command was killed by SIGSEGV"


async def test_metric_points_and_resource_samples_are_stored_once_each(idle: Engine) -> None:
    code = """
import json, os, time
with open(os.environ["MLP_METRICS"], "a") as file:
    for step in range(50):
        print(json.dumps({"name": "loss", "value": 1 / (step + 1), "step": step}), file=file, flush=True)
        time.sleep(0.03)
    file.write('{"name": "last", "value": "NaN", "step": 0}')
"""
    async with idle.supervised():
        run_id = await idle.start(stage("train", python(code)))
        await idle.finished(run_id)
    train = (await idle.stages(run_id))["train"]
    points = await idle.rows(sa.select(metric_points).where(metric_points.c.stage_run_id == train.id))
    samples = await idle.rows(sa.select(resource_samples).where(resource_samples.c.run_id == run_id))
    assert sorted(point.step for point in points if point.name == "loss") == list(range(50))
    assert [math.isnan(point.value) for point in points if point.name == "last"] == [True]
    assert [sample.seq for sample in samples] == list(range(1, len(samples) + 1))
    assert max(sample.memory_bytes for sample in samples) > 1_000_000


async def test_events_are_numbered_without_gap_and_tell_the_whole_story(idle: Engine) -> None:
    async with idle.supervised():
        run_id = await idle.start(stage("first"), stage("second", needs=["first"]))
        await idle.finished(run_id)
    events = await idle.events(run_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    per_stage = ["STAGE_CLAIMED", "STAGE_STARTED", "STAGE_COLLECTING", "STAGE_FINISHED"]
    story = ["RUN_QUEUED", "RUN_STARTED", *per_stage, "STAGE_READIED", *per_stage, "RUN_FINISHED"]
    assert [event.kind for event in events] == story


async def test_independent_stages_run_side_by_side(idle: Engine, tmp_path: Path) -> None:
    """Each branch waits for the other's file, so they can only end together."""
    meet = """
import pathlib, sys, time
mine, other = map(pathlib.Path, sys.argv[1:])
mine.touch()
while not other.exists():
    time.sleep(0.01)
"""
    left, right = str(tmp_path / "left"), str(tmp_path / "right")
    async with idle.supervised():
        run_id = await idle.start(
            stage("left", [*python(meet), left, right], timeout=20),
            stage("right", [*python(meet), right, left], timeout=20),
        )
        assert (await idle.finished(run_id)).status is RunStatus.COMPLETED


async def test_a_model_knows_the_data_set_it_was_trained_on(idle: Engine) -> None:
    split = """
import os, pathlib
folder = pathlib.Path(os.environ["MLP_OUTPUT_DIR"], "datasets"); folder.mkdir()
(folder / "train.csv").write_text("x,y\\n1,2\\n3,4\\n")
"""
    train = """
import json, os, pathlib
out = pathlib.Path(os.environ["MLP_OUTPUT_DIR"])
(out / "model.json").write_text("{}")
model = {"modelType": "regressor", "algorithm": "line", "framework": "none", "format": "json",
         "trainingDataset": "split/datasets/train.csv", "metrics": {"error": 0.5}}
(out / "artifacts.json").write_text(json.dumps(
    {"artifacts": [{"path": "model.json", "name": "the model", "type": "MODEL", "model": model}]}))
(out / "metrics.json").write_text(json.dumps({"rmse": 0.25}))
"""
    async with idle.supervised():
        run_id = await idle.start(
            stage("split", python(split)), stage("train", python(train), needs=["split"])
        )
        assert (await idle.finished(run_id)).error_message is None
    stages = await idle.stages(run_id)
    (model,) = await idle.rows(sa.select(models))
    (dataset,) = await idle.rows(sa.select(datasets).where(datasets.c.id == model.training_dataset_id))
    train_csv = (await idle.artifacts(stages["split"].id))["datasets/train.csv"]
    assert (dataset.artifact_id, dataset.row_count, dataset.column_count) == (train_csv.id, 2, 2)
    assert (model.algorithm, model.metrics) == ("line", {"error": 0.5, "rmse": 0.25})
    assert stages["train"].metrics == {"rmse": 0.25}


async def test_the_manifest_overrules_the_inspection_and_the_inspection_completes_it(idle: Engine) -> None:
    code = """
import json, os, pathlib
out = pathlib.Path(os.environ["MLP_OUTPUT_DIR"])
(out / "measured.csv").write_text("x,y\\n1,2\\n3,4\\n")
said = {"format": "survey", "rowCount": 70}
(out / "artifacts.json").write_text(json.dumps({"artifacts": [{"path": "measured.csv", "dataset": said}]}))
"""
    async with idle.supervised():
        run_id = await idle.start(stage("only", python(code)))
        assert (await idle.finished(run_id)).error_message is None
    (dataset,) = await idle.rows(sa.select(datasets))
    assert (dataset.format, dataset.row_count) == ("survey", 70)
    assert (dataset.column_count, [column["name"] for column in dataset.schema]) == (2, ["x", "y"])


async def test_a_large_manifest_is_read_whole(idle: Engine) -> None:
    code = """
import json, os, pathlib
out = pathlib.Path(os.environ["MLP_OUTPUT_DIR"])
(out / "a.txt").write_text("a")
entry = {"path": "a.txt", "name": "described", "metadata": {"text": "x" * 2_000_000}}
(out / "artifacts.json").write_text(json.dumps({"artifacts": [entry]}))
"""
    async with idle.supervised():
        run_id = await idle.start(stage("only", python(code)))
        assert (await idle.finished(run_id)).error_message is None
    only = (await idle.stages(run_id))["only"]
    assert (await idle.artifacts(only.id))["a.txt"].name == "described"


async def test_a_stage_of_an_executor_that_the_worker_does_not_have_fails_and_says_so(idle: Engine) -> None:
    idle.executors = Executors({"OTHER": LocalExecutor(idle.home.attempts)})
    async with idle.supervised():
        run_id = await idle.start(stage("only"))
        run = await idle.finished(run_id)
    only = (await idle.stages(run_id))["only"]
    assert (run.status, only.finish_reason) == (RunStatus.FAILED, FinishReason.START_FAILED)
    assert "this worker has no executor 'LOCAL'; it has OTHER" in run.error_message
