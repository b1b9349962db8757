"""A stage with a cache is executed once for each combination of what decides about its outputs."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app.database.engine import create_engine
from app.database.tables import blobs, pipeline_runs
from app.domain.attempts import AttemptKey
from app.domain.vocabulary import FinishReason, RunStatus, StageStatus
from app.execution import drive, supervisor
from app.execution.janitor import Janitor, RetentionDays
from app.execution.leftovers import Leftovers
from app.execution.paths import WorkerHome
from app.notifications.postgres import PostgresNotifier
from app.services.pipelines import create_pipeline, update_pipeline
from app.services.retries import retry_run
from app.services.runs import StartRun, start_run
from app.services.state import claims
from tests.execution.conftest import Engine, stage
from tests.execution.faulty_disk import OneFault
from tests.execution.faulty_network import FaultyNetwork
from tests.registered_workers import register_worker

SWEEP_STRIDE = int(os.environ.get("MLP_SWEEP_STRIDE", "11"))

TRAIN = """
echo $MLP_STAGE >> $LEDGER
cat $MLP_PARAMS $MLP_INPUTS/prepare/d.csv > $MLP_OUTPUT_DIR/model.txt
echo '{"score": 0.5}' > $MLP_OUTPUT_DIR/metrics.json
echo '{"best": 7}' > $MLP_RESULT
"""
MODEL = b'{\n  "lr": 0.1\n}a,b'


@dataclass
class Project:
    """A folder with code, and one pipeline over it whose stages record each execution."""

    engine: Engine
    folder: Path
    train: dict[str, Any] = field(default_factory=lambda: {"params": {"lr": 0.1}, "cache": True})
    data: str = "a,b"
    use: str = "cat $MLP_INPUTS/train/model.txt"
    pipeline_id: uuid.UUID | None = None

    def __post_init__(self) -> None:
        self.write("train.sh", TRAIN)
        self.ledger.touch()

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)

    def executed(self) -> list[str]:
        """The stages that had a process since the last call, in order."""
        lines = self.ledger.read_text().splitlines()
        self.ledger.write_text("")
        return lines

    async def run(self, **request: Any) -> tuple[sa.Row[Any], dict[str, Any]]:
        """A run of the pipeline as it is now: its row and its stage runs, once it has ended."""
        run_id = await self.start(**request)
        run = await self.engine.finished(run_id)
        return run, await self.engine.stages(run_id)

    async def start(self, **request: Any) -> uuid.UUID:
        database = self.engine.database
        stages = self._stages()
        if self.pipeline_id is None:
            draft = {"name": "cached", "config": None, "stages": stages}
            self.pipeline_id = await create_pipeline(database, draft)
        else:
            await update_pipeline(database, self.pipeline_id, {"stages": stages})
        return await start_run(database, self.engine.notifier, StartRun(self.pipeline_id, **request))

    def _stages(self) -> list[Mapping[str, Any]]:
        env = {"LEDGER": str(self.ledger), **self.train.get("env", {})}
        train = {"command": ["sh", "train.sh"], "workdir": str(self.folder), **self.train, "env": env}
        return [
            stage("prepare", f"printf {self.data} > $MLP_OUTPUT_DIR/d.csv"),
            stage("train", train.pop("command"), ["prepare"], **train),
            stage("use", self.use, ["train"]),
        ]


@pytest.fixture
def project(idle: Engine, tmp_path: Path) -> Project:
    return Project(idle, tmp_path)


def miss(stage_run: sa.Row[Any]) -> list[str]:
    """Why it was executed: the reason, or what changed."""
    found = stage_run.cache_miss
    return [change["summary"] for change in found["changes"]] or [found["reason"]]


async def test_a_second_run_takes_the_outputs_of_the_first_without_a_process(project: Project) -> None:
    async with project.engine.supervised():
        _, first = await project.run()
        run, second = await project.run()
    assert project.executed() == ["train"]
    train = second["train"]
    assert (run.status, run.success_count, run.open_stage_count) == (RunStatus.COMPLETED, 3, 0)
    assert (train.status, train.cache_hit, train.started_at) == (StageStatus.COMPLETED, True, None)
    assert train.reused_from_id == first["train"].id
    assert (train.metrics, train.output_data) == ({"score": 0.5}, {"best": 7})
    assert await project.engine.log(second["use"].id) == MODEL
    assert not first["train"].cache_hit
    assert miss(first["train"]) == ["FIRST"]


async def test_the_events_of_a_hit_name_the_reused_result(project: Project) -> None:
    async with project.engine.supervised():
        _, first = await project.run()
        run, second = await project.run()
    events = [
        event for event in await project.engine.events(run.id) if event.stage_run_id == second["train"].id
    ]
    assert [event.kind for event in events] == ["STAGE_READIED", "STAGE_CLAIMED", "STAGE_FINISHED"]
    finished = events[-1].payload
    assert (finished["status"], finished["previousStatus"]) == ("COMPLETED", "PENDING")
    assert finished["reusedFromId"] == str(first["train"].id)
    assert "stands in for it" in finished["cause"]
    (attempt,) = await project.engine.attempts(second["train"].id)
    assert (attempt.started_at, attempt.finish_reason) == (None, None)
    assert attempt.finished_at is not None


CHANGES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "params": ({"params": {"lr": 0.2}}, ["params.lr changed from 0.1 to 0.2"]),
    "a new param": ({"params": {"lr": 0.1, "depth": 3}}, ["params.depth was added"]),
    "command": ({"command": ["sh", "-u", "train.sh"]}, ["command changed"]),
    "env": ({"env": {"TOKEN": "secret"}}, ["env.TOKEN was added"]),
    "version": ({"cache": {"version": 2}}, ['version changed from "" to "2"']),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_a_change_of_the_stage_executes_it_again_and_is_named(project: Project, what: str) -> None:
    change, expected = CHANGES[what]
    async with project.engine.supervised():
        await project.run()
        project.train |= change
        _, second = await project.run()
    assert project.executed() == ["train", "train"]
    assert (second["train"].cache_hit, miss(second["train"])) == (False, expected)


async def test_a_change_of_its_code_executes_a_stage_again(project: Project) -> None:
    async with project.engine.supervised():
        await project.run()
        project.write("train.sh", TRAIN + "\n")
        _, second = await project.run()
    assert miss(second["train"]) == ["file train.sh changed"]
    assert project.executed() == ["train", "train"]


async def test_a_change_of_declared_files_executes_a_stage_again(project: Project) -> None:
    project.train["cache"] = {"files": ["train.sh", "src/**/*.py"]}
    project.write("src/deep/layers.py", "depth = 3")
    async with project.engine.supervised():
        await project.run()
        project.write("src/deep/layers.py", "depth = 4")
        project.write("src/new.py", "")
        project.write("notes.md", "not declared")
        _, second = await project.run()
    assert miss(second["train"]) == ["file src/deep/layers.py changed", "file src/new.py was added"]


async def test_other_inputs_execute_a_stage_again_and_equal_ones_do_not(project: Project) -> None:
    """``prepare`` has no cache: what counts is what it left, not that it was executed again."""
    async with project.engine.supervised():
        await project.run()
        project.data = "c,d"
        _, second = await project.run()
        _, third = await project.run()
    assert miss(second["train"]) == ["input prepare/d.csv changed"]
    assert (third["prepare"].cache_hit, third["train"].cache_hit) == (False, True)


async def test_an_older_execution_is_found_again_when_a_change_is_undone(project: Project) -> None:
    async with project.engine.supervised():
        _, first = await project.run()
        project.train["params"] = {"lr": 9}
        await project.run()
        project.train["params"] = {"lr": 0.1}
        _, third = await project.run()
    assert third["train"].reused_from_id == first["train"].id


async def test_a_run_may_pass_the_cache_by_and_renews_it(project: Project) -> None:
    async with project.engine.supervised():
        await project.run()
        _, second = await project.run(run_config={"cache": False})
        _, third = await project.run()
    assert project.executed() == ["train", "train"]
    assert miss(second["train"]) == ["BYPASSED"]
    assert third["train"].reused_from_id == second["train"].id


async def test_parameters_of_the_run_are_part_of_the_key(project: Project) -> None:
    async with project.engine.supervised():
        await project.run()
        _, second = await project.run(run_config={"stages": {"train": {"params": {"lr": 0.3}}}})
    assert miss(second["train"]) == ["params.lr changed from 0.1 to 0.3"]


async def test_a_stage_without_a_cache_is_executed_every_time(project: Project) -> None:
    project.train["cache"] = False
    async with project.engine.supervised():
        await project.run()
        _, second = await project.run()
    assert project.executed() == ["train", "train"]
    row = second["train"]
    assert (row.cache_hit, row.cache_key, row.cache_parts, row.cache_miss) == (False, None, None, None)


async def test_a_failed_execution_stands_in_for_nothing(project: Project) -> None:
    project.write("train.sh", TRAIN + "test -e fixed || exit 3")
    project.train["allowFailure"] = True
    async with project.engine.supervised():
        _, first = await project.run()
        project.write("fixed", "")
        _, second = await project.run()
    assert (first["train"].status, second["train"].status) == (StageStatus.FAILED, StageStatus.COMPLETED)
    assert miss(second["train"]) == ["FIRST"]


@pytest.mark.parametrize("damage", ["deleted", "cut short"])
async def test_a_stage_whose_stored_outputs_are_gone_is_executed_again(project: Project, damage: str) -> None:
    async with project.engine.supervised():
        _, first = await project.run()
        model = (await project.engine.artifacts(first["train"].id))["model.txt"]
        path = project.engine.store.path(model.sha256)
        if damage == "deleted":
            path.unlink()
        else:
            path.chmod(0o600)
            path.write_text("")
        _, second = await project.run()
        _, third = await project.run()
    assert miss(second["train"]) == ["OUTPUTS_GONE"]
    assert await project.engine.log(second["use"].id) == MODEL
    assert third["train"].reused_from_id == second["train"].id


async def test_outputs_of_code_that_changed_while_it_ran_are_never_reused(project: Project) -> None:
    edit = "echo >> train.sh\n"
    project.write("train.sh", TRAIN + edit)
    async with project.engine.supervised():
        _, first = await project.run()
        project.write("train.sh", TRAIN + edit)
        _, second = await project.run()
    assert (first["train"].status, first["train"].cache_key) == (StageStatus.COMPLETED, None)
    assert miss(second["train"]) == ["FILES_CHANGED_MEANWHILE"]


async def test_a_declared_file_that_is_missing_fails_the_stage_and_is_named(project: Project) -> None:
    project.train["cache"] = {"files": ["trian.py"]}
    async with project.engine.supervised():
        run, stages = await project.run()
    assert project.executed() == []
    train = stages["train"]
    assert (train.status, train.finish_reason) == (StageStatus.FAILED, FinishReason.START_FAILED)
    assert train.error_message == (
        f"the command could not be started: cache.files: 'trian.py' matches no file in {project.folder}"
    )
    assert run.status is RunStatus.FAILED


async def test_two_runs_at_once_are_both_executed(project: Project) -> None:
    """Neither waits for the other: each would have to wait for the other's failure too."""
    project.write(
        "train.sh",
        TRAIN + "until test $(wc -l < $LEDGER) -ge 2; do sleep 0.02; done",
    )
    async with project.engine.supervised():
        one, other = await project.start(), await project.start()
        ended = [await project.engine.finished(run_id) for run_id in (one, other)]
        _, third = await project.run()
    assert [run.status for run in ended] == [RunStatus.COMPLETED] * 2
    assert project.executed() == ["train", "train"]
    assert third["train"].reused_from_id == (await project.engine.stages(other))["train"].id


async def test_a_retry_of_everything_takes_what_the_cache_has(project: Project) -> None:
    engine = project.engine
    async with engine.supervised():
        run, _ = await project.run()
        again = await retry_run(engine.database, engine.notifier, run.id, from_failed=False)
        await engine.finished(again)
    assert (await engine.stages(again))["train"].cache_hit
    assert project.executed() == ["train"]


async def test_a_retry_of_what_failed_keeps_a_stage_that_came_from_the_cache(project: Project) -> None:
    engine = project.engine
    async with engine.supervised():
        _, first = await project.run()
        project.use = "exit 1"
        run, second = await project.run()
        again = await retry_run(engine.database, engine.notifier, run.id, from_failed=True)
        await engine.finished(again)
    retried = (await engine.stages(again))["train"]
    assert second["train"].cache_hit
    assert (retried.reused_from_id, retried.cache_hit) == (first["train"].id, False)
    assert project.executed() == ["train"]


async def test_the_values_of_variables_are_not_in_the_key(project: Project) -> None:
    project.train["env"] = {"TOKEN": "very-secret"}
    async with project.engine.supervised():
        _, first = await project.run()
        project.train["env"] = {"TOKEN": "other-secret"}
        run, second = await project.run()
    assert miss(second["train"]) == ["env.TOKEN changed"]
    events = await project.engine.events(run.id)
    told = [first["train"].cache_parts, second["train"].cache_parts, second["train"].cache_miss]
    assert "secret" not in str([*told, *(event.payload for event in events)])


async def test_the_same_stage_of_another_pipeline_reuses_nothing(project: Project) -> None:
    async with project.engine.supervised():
        await project.run()
        project.pipeline_id = None
        _, second = await project.run()
    assert miss(second["train"]) == ["FIRST"]


async def test_a_crash_between_the_claim_and_the_decision_loses_nothing(idle: Engine) -> None:
    """The successor finds the claim, which is all that a look-up leaves before its decision."""
    async with idle.supervised():
        first = await idle.start(stage("only", cache=True))
        pipeline_id = (await idle.finished(first)).pipeline_id
    second = await start_run(idle.database, idle.notifier, StartRun(pipeline_id))
    host_id = idle.home.host_id()
    dead = (idle.database, idle.notifier, await register_worker(idle.database, host_id, slots=1))
    assert await claims.start_next_run(*dead, running_limit=9, default_timeout_seconds=60) == second
    only = (await idle.stages(second))["only"]
    assert await claims.claim_next_stage(*dead, host_id) == AttemptKey(second, only.id, 1)
    async with idle.supervised():
        assert (await idle.finished(second)).status is RunStatus.COMPLETED
    only = (await idle.stages(second))["only"]
    assert (only.attempt_number, only.cache_hit) == (1, True)


@pytest.mark.parametrize("after", [False, True], ids=["before-it-arrives", "before-it-is-answered"])
async def test_the_loss_of_any_one_statement_changes_nothing_about_a_hit(
    idle: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    monkeypatch.setattr(drive, "RECONNECT_SECONDS", 0.05)
    monkeypatch.setattr(supervisor, "RECOVERY_SECONDS", 0.05)
    fault, struck, number = OneFault(), True, 1
    async with FaultyNetwork(database_url, fault, after=after) as network:
        database = create_engine(network.url)
        async with (
            PostgresNotifier(network.url) as notifier,
            Engine(database, notifier, idle.home).supervised(),
        ):
            first = await idle.start(stage("only", cache=True))
            pipeline_id = (await idle.finished(first)).pipeline_id
            source = (await idle.stages(first))["only"]
            while struck:
                fault.arm(number)
                run_id = await start_run(idle.database, idle.notifier, StartRun(pipeline_id))
                assert (await idle.finished(run_id)).status is RunStatus.COMPLETED
                struck = fault.has_happened()
                only = (await idle.stages(run_id))["only"]
                assert (only.reused_from_id, only.started_at) == (source.id, None), number
                kinds = [event.kind for event in await idle.events(run_id)]
                assert Counter(kinds)["STAGE_FINISHED"] == 1
                number += SWEEP_STRIDE
        await database.dispose()
    assert number > 2 * SWEEP_STRIDE


async def test_another_host_reuses_the_results_of_the_first_one(project: Project, tmp_path: Path) -> None:
    here = project.engine
    there = replace(here, home=WorkerHome(tmp_path / "there"))
    there.home.root.mkdir()
    (there.home.root / "artifacts").symlink_to(here.home.artifacts)
    there.home.make()
    async with here.supervised():
        _, first = await project.run()
    async with there.supervised():
        _, second = await project.run()
    assert second["train"].reused_from_id == first["train"].id
    assert await there.log(second["use"].id) == MODEL
    (claim,) = await there.attempts(second["train"].id)
    assert claim.host_id == there.home.host_id() != here.home.host_id()


async def test_the_janitor_does_not_remove_what_a_younger_run_reuses(project: Project) -> None:
    engine = project.engine
    async with engine.supervised():
        first, _ = await project.run()
        second, _ = await project.run()
        await _clean(engine, older_than_days={first.id: 60})
        assert {run.id for run in await engine.rows(sa.select(pipeline_runs.c.id))} == {first.id, second.id}
        _, third = await project.run()
        assert (third["train"].cache_hit, await engine.log(third["use"].id)) == (True, MODEL)


async def test_what_the_janitor_has_removed_is_executed_again(project: Project) -> None:
    engine = project.engine
    async with engine.supervised():
        first, _ = await project.run()
        await _clean(engine, older_than_days={first.id: 60})
        _, second = await project.run()
    assert miss(second["train"]) == ["FIRST"]
    assert project.executed() == ["train", "train"]


async def _clean(engine: Engine, older_than_days: Mapping[uuid.UUID, float]) -> None:
    """A whole pass of a janitor that keeps runs for 30 days, when these runs and all data are that old."""
    async with engine.database.begin() as connection:
        for run_id, days in older_than_days.items():
            age = sa.func.now() - timedelta(days=days)
            changed = {"completed_at": age, "updated_at": age}
            await connection.execute(
                sa.update(pipeline_runs).where(pipeline_runs.c.id == run_id).values(changed)
            )
        await connection.execute(sa.update(blobs).values(touched_at=sa.func.now() - timedelta(days=60)))
    for path in engine.home.artifacts.glob("blobs/*/*/*"):
        os.utime(path, (0, 0))
    leftovers = Leftovers(engine.database, engine.executors, engine.store, engine.home)
    janitor = Janitor(engine.database, engine.notifier, leftovers, RetentionDays(runs=30))
    await janitor.clean_database()
    await janitor.clean_files()
