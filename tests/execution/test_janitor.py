"""The janitor on a real database and real files: what is old goes, in small steps; what is in use stays."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from app.database import retention
from app.database.columns import new_id
from app.database.tables import (
    artifacts,
    blobs,
    datasets,
    deleted_runs,
    metadata,
    metric_points,
    models,
    pipeline_runs,
    pipeline_stages,
    pipelines,
    resource_samples,
    run_events,
    stage_runs,
    workers,
)
from app.domain.vocabulary import ExecutorType, RunStatus, StageStatus, StorageType
from app.execution import janitor
from app.execution.executors.by_name import Executors
from app.execution.executors.local import LocalExecutor
from app.execution.executors.local_files import make_folders
from app.execution.janitor import Janitor, RetentionDays
from app.execution.leftovers import BLOB_GRACE, Leftovers
from app.execution.paths import WorkerHome
from app.notifications.postgres import PostgresNotifier
from app.services.changed_runs import WantedRuns
from app.services.logs import LogReader
from app.services.streams import Streams
from app.storage.base import StoredBlob
from app.storage.local import LocalStore
from tests.execution.conftest import Engine, python, stage
from tests.factories import Factory
from tests.stored_files import put_file

NOW = dt.datetime.now(dt.UTC)
EVERYTHING = RetentionDays(runs=30, samples=30, events=30, logs=30)
OF_A_RUN = (stage_runs, artifacts, datasets, models, run_events, resource_samples, metric_points)


def days_ago(days: float) -> dt.datetime:
    return NOW - dt.timedelta(days=days)


AGED = {"completed_at": days_ago(60), "updated_at": days_ago(60)}


def make_old(path: Path, days: float = 2) -> None:
    os.utime(path, (time.time() - days * 86_400,) * 2)


@dataclass
class Site:
    """A database and a home to clean up."""

    engine: AsyncEngine
    notifier: PostgresNotifier
    home: WorkerHome
    make: Factory

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.home.artifacts)

    @property
    def executors(self) -> Executors:
        return Executors({ExecutorType.LOCAL: LocalExecutor(self.home.attempts)})

    def janitor(self, **days: float) -> Janitor:
        leftovers = Leftovers(self.engine, self.executors, self.store, self.home)
        return Janitor(self.engine, self.notifier, leftovers, RetentionDays(**days))

    async def ended_run(
        self, days: float, pipeline_id: uuid.UUID | None = None, samples: int = 3, **values: Any
    ) -> uuid.UUID:
        """A run that ended that long ago, with a row in every table."""
        pipeline_id = pipeline_id or await self.make.pipeline()
        moment = days_ago(days)
        run_id = await self.make.run(
            pipeline_id, **{"completed_at": moment, "updated_at": moment, "last_event_seq": 5, **values}
        )
        stage_id = await self.make.stage(pipeline_id, f"stage of {run_id}")
        stage_run_id = await self.make.stage_run(run_id, stage_id)
        await self.make.attempt(stage_run_id)
        await self.make.samples(run_id, stage_run_id, [1] * samples)
        for seq in range(5, 0, -1):
            await self.make.event(run_id, seq, "STAGE_READIED", stage_run_id=stage_run_id)
        await self.make.metric(stage_run_id, "loss", [1.0, 0.5])
        data = await self.make.artifact(stage_run_id, stage_id, "data")
        dataset_id = await self.make.dataset(data)
        model = await self.make.artifact(stage_run_id, stage_id, "model")
        await self.make.model(model, training_dataset_id=dataset_id)
        await self.make.artifact(stage_run_id, stage_id, "output.log", is_captured_log=True)
        return run_id

    async def active_run(self, days: float) -> uuid.UUID:
        """A run that has been running for that long."""
        pipeline_id = await self.make.pipeline()
        run_id = await self.make.run(pipeline_id, RunStatus.RUNNING, updated_at=days_ago(days))
        stage_run_id = await self.make.stage_run(
            run_id, await self.make.stage(pipeline_id), StageStatus.RUNNING
        )
        await self.make.samples(run_id, stage_run_id, [1])
        await self.make.event(run_id, 1, "RUN_STARTED")
        return run_id

    async def count(self, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
        async with self.engine.connect() as connection:
            statement = sa.select(sa.func.count()).select_from(table).where(*conditions)
            return int((await connection.execute(statement)).scalar_one())

    async def ids(self, column: sa.Column[Any]) -> set[Any]:
        async with self.engine.connect() as connection:
            return set((await connection.execute(sa.select(column))).scalars())

    async def counts(self) -> dict[str, int]:
        return {table.name: await self.count(table) for table in metadata.sorted_tables}

    async def execute(self, statement: Any) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(statement)

    async def stored(self, content: bytes, *, days: float) -> StoredBlob:
        """A file of the store that was last put that long ago."""
        source = self.home.root / "source"
        source.write_bytes(content)
        blob = await put_file(self.store, source)
        make_old(self.store.path(blob.sha256), days)
        return blob

    async def known(self, blob: StoredBlob, *, days: float) -> None:
        """The row of a blob that was last published that long ago."""
        await self.execute(sa.insert(blobs).values(self.row(blob, days_ago(days))))

    @staticmethod
    def row(blob: StoredBlob, touched_at: Any) -> dict[str, Any]:
        return {
            "sha256": blob.sha256,
            "size_bytes": blob.size_bytes,
            "storage_type": blob.storage_type,
            "touched_at": touched_at,
        }


@pytest.fixture
def site(idle: Engine) -> Site:
    return Site(idle.database, idle.notifier, idle.home, Factory(idle.database))


@pytest.fixture
def deleted_rows(engine: AsyncEngine) -> Iterator[list[int]]:
    """How many rows each DELETE statement removed."""
    found: list[int] = []

    def note(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE"):
            found.append(cursor.rowcount)

    event.listen(engine.sync_engine, "after_cursor_execute", note)
    yield found
    event.remove(engine.sync_engine, "after_cursor_execute", note)


async def test_nothing_is_removed_without_a_retention_time(site: Site) -> None:
    await site.ended_run(10_000)
    before = await site.counts()
    assert await site.janitor().clean_database() == Counter()
    assert await site.counts() == before


async def test_samples_are_removed_before_their_run(site: Site) -> None:
    old, young, active = await site.ended_run(31), await site.ended_run(29), await site.active_run(90)
    assert await site.janitor(samples=30).clean_database() == {"resource samples": 3}
    assert await site.ids(resource_samples.c.run_id) == {young, active}
    assert await site.ids(pipeline_runs.c.id) == {old, young, active}
    assert await site.ids(run_events.c.run_id) == {old, young, active}


async def test_followers_of_removed_events_learn_what_they_missed(site: Site) -> None:
    old, active = await site.ended_run(31), await site.active_run(90)
    assert await site.janitor(events=30).clean_database() == {"events": 5}
    assert await site.ids(run_events.c.run_id) == {active}
    logs = LogReader(site.executors, site.store, site.engine)
    streams = Streams(site.engine, site.notifier, logs)
    batches = [batch async for batch in streams.run_events(old, 2)]
    assert [(batch.cursor, batch.missed) for batch in batches] == [(5, (3, 5))]


async def test_captured_logs_are_removed_and_other_artifacts_are_not(site: Site) -> None:
    await site.ended_run(31)
    await site.ended_run(29)
    assert await site.janitor(logs=30).clean_database() == {"logs": 1}
    assert await site.count(artifacts, artifacts.c.is_captured_log) == 1
    assert await site.count(artifacts, ~artifacts.c.is_captured_log) == 4


async def test_a_run_goes_with_everything_that_hangs_on_it(site: Site) -> None:
    old, young, active = await site.ended_run(31), await site.ended_run(29), await site.active_run(90)
    removed = await site.janitor(runs=30).clean_database()
    assert removed == {"resource samples": 3, "metric points": 2, "events": 5, "runs": 1}
    assert await site.ids(pipeline_runs.c.id) == {young, active}
    assert await site.ids(stage_runs.c.pipeline_run_id) == {young, active}
    assert [await site.count(table) for table in OF_A_RUN] == [2, 3, 1, 1, 6, 4, 2]
    assert await site.count(pipelines) == 3
    assert old not in await site.ids(run_events.c.run_id)


async def test_followers_of_runs_are_notified_of_removed_ones(site: Site) -> None:
    old = await site.ended_run(31)
    await site.ended_run(29)
    logs = LogReader(site.executors, site.store, site.engine)
    async with contextlib.aclosing(
        Streams(site.engine, site.notifier, logs).changed_runs(WantedRuns())
    ) as changes:
        await site.janitor(runs=30).clean_database()
        with anyio.fail_after(10):
            told = await anext(changes)
    assert (told.matching, told.others, told.deleted) == ([], [], [old])


async def test_notes_of_deleted_runs_are_removed_after_a_day_in_batches(
    site: Site, monkeypatch: pytest.MonkeyPatch, deleted_rows: list[int]
) -> None:
    monkeypatch.setattr(janitor, "ROWS_PER_BATCH", 3)
    young, *old = [uuid.uuid4() for _ in range(8)]
    hours = {young: 23, **dict.fromkeys(old, 25)}
    rows = [
        {"run_id": run_id, "pipeline_id": uuid.uuid4(), "deleted_at": days_ago(age / 24)}
        for run_id, age in hours.items()
    ]
    await site.execute(sa.insert(deleted_runs).values(rows))
    assert await site.janitor().clean_database() == {"notes of deleted runs": 7}
    assert await site.ids(deleted_runs.c.run_id) == {young}
    assert [count for count in deleted_rows if count] == [3, 3, 1]


async def test_a_run_whose_notes_were_edited_lately_stays(site: Site) -> None:
    await site.ended_run(400, updated_at=days_ago(1))
    assert await site.janitor(**vars(EVERYTHING)).clean_database() == Counter()


async def test_a_run_stays_as_long_as_a_later_one_uses_its_outputs(site: Site) -> None:
    source, later = await site.ended_run(90), await site.ended_run(1)
    of_source = sa.select(stage_runs.c.id).where(stage_runs.c.pipeline_run_id == source).scalar_subquery()
    of_later = stage_runs.c.pipeline_run_id == later
    await site.execute(sa.update(stage_runs).where(of_later).values(reused_from_id=of_source))
    cleaner = site.janitor(runs=30)
    assert await cleaner.clean_database() == Counter()
    await site.execute(sa.update(pipeline_runs).where(pipeline_runs.c.id == later).values(AGED))
    assert (await cleaner.clean_database())["runs"] == 1
    assert (await cleaner.clean_database())["runs"] == 1
    assert await site.count(pipeline_runs) == 0


async def test_a_model_outlives_the_data_set_it_was_trained_on(site: Site) -> None:
    await site.ended_run(90)
    young = await site.ended_run(1)
    async with site.engine.connect() as connection:
        statement = (
            sa.select(datasets.c.id)
            .join(artifacts, artifacts.c.id == datasets.c.artifact_id)
            .join(stage_runs, stage_runs.c.id == artifacts.c.stage_run_id)
            .where(stage_runs.c.pipeline_run_id != young)
        )
        old_dataset = (await connection.execute(statement)).scalar_one()
    await site.execute(sa.update(models).values(training_dataset_id=old_dataset))
    await site.janitor(runs=30).clean_database()
    assert await site.ids(models.c.training_dataset_id) == {None}


async def test_no_transaction_removes_more_than_a_batch(
    site: Site, monkeypatch: pytest.MonkeyPatch, deleted_rows: list[int]
) -> None:
    monkeypatch.setattr(janitor, "ROWS_PER_BATCH", 10)
    monkeypatch.setattr(janitor, "RUNS_PER_READ", 2)
    for _ in range(5):
        await site.ended_run(31, samples=17)
    removed = await site.janitor(samples=30).clean_database()
    assert removed == {"resource samples": 85}
    assert max(deleted_rows) == 10


async def test_a_batch_never_leaves_a_hole_in_the_events_of_a_run(site: Site) -> None:
    runs = sorted([await site.ended_run(31) for _ in range(3)])
    async with site.engine.begin() as connection:
        assert await retention.remove_history(connection, retention.EVENTS, runs, 7) == 7
        rows = await connection.execute(sa.select(run_events.c.run_id, run_events.c.seq))
    left: dict[uuid.UUID, set[int]] = {}
    for run_id, seq in rows:
        left.setdefault(run_id, set()).add(seq)
    assert sorted(map(sorted, left.values())) == [[1, 2, 3, 4, 5], [3, 4, 5]]


async def test_a_second_pass_finds_nothing_more(site: Site) -> None:
    for days in (29, 31, 60):
        await site.ended_run(days)
    cleaner = site.janitor(**vars(EVERYTHING))
    await cleaner.clean_database()
    before = await site.counts()
    assert await cleaner.clean_database() == Counter()
    assert await site.janitor(**vars(EVERYTHING)).clean_database() == Counter()
    assert await site.counts() == before


async def test_what_gets_old_between_two_passes_is_found(site: Site) -> None:
    cleaner = site.janitor(samples=30)
    run_id = await site.ended_run(31)
    await cleaner.clean_database()
    later = await site.ended_run(30.5)
    assert await cleaner.clean_database() == {"resource samples": 3}
    assert await site.count(resource_samples, resource_samples.c.run_id.in_([run_id, later])) == 0


async def test_several_janitors_remove_everything_once(site: Site) -> None:
    for _ in range(10):
        await site.ended_run(31)
    cleaners = [site.janitor(runs=30) for _ in range(4)]
    total: Counter[str] = Counter()
    with anyio.fail_after(20):
        while await site.count(pipeline_runs):
            for removed in await asyncio.gather(*(cleaner.clean_database() for cleaner in cleaners)):
                total += removed
    assert total == {"runs": 10, "events": 50, "resource samples": 30, "metric points": 20}


async def test_a_janitor_leaves_the_database_to_another_one(site: Site) -> None:
    await site.ended_run(31)
    async with retention.janitor_lock(site.engine):
        with anyio.fail_after(5):
            assert await site.janitor(**vars(EVERYTHING)).clean_database() == Counter()
    assert (await site.janitor(**vars(EVERYTHING)).clean_database())["runs"] == 1


async def test_workers_are_removed_long_after_their_end_unless_an_attempt_names_them(site: Site) -> None:
    alive = await site.make.worker()
    stopped_lately = await site.make.worker(lease_until=days_ago(6))
    named = await site.make.worker(lease_until=days_ago(60))
    await site.make.worker(lease_until=days_ago(8))
    run_id = await site.ended_run(1)
    async with site.engine.connect() as connection:
        of_run = sa.select(stage_runs.c.id).where(stage_runs.c.pipeline_run_id == run_id)
        stage_run_id = (await connection.execute(of_run)).scalar_one()
    await site.make.attempt(stage_run_id, 2, worker_id=named)
    assert await site.janitor().clean_database() == {"workers": 1}
    assert await site.ids(workers.c.id) == {alive, stopped_lately, named}


async def test_a_stage_removed_from_its_pipeline_is_deleted_with_its_last_run(site: Site) -> None:
    await site.ended_run(1)
    await site.execute(sa.update(pipeline_stages).values(is_active=False))
    pipeline_id = await site.make.pipeline()
    await site.make.stage(pipeline_id, "still there")
    assert await site.janitor(runs=30).clean_database() == Counter()
    assert (await site.janitor(runs=0.5).clean_database())["retired stages"] == 1
    assert await site.ids(pipeline_stages.c.name) == {"still there"}


async def test_an_unused_blob_goes_with_its_file(site: Site) -> None:
    unused, used, young = [await site.stored(name, days=2) for name in (b"unused", b"used", b"young")]
    await site.known(unused, days=2)
    await site.known(used, days=2)
    await site.known(young, days=0.9)
    await site.ended_run(1)
    await site.execute(sa.update(artifacts).values(sha256=used.sha256))
    assert await site.janitor().clean_files() == {"blobs": 1}
    assert await site.ids(blobs.c.sha256) == {used.sha256, young.sha256}
    exists = [site.store.path(blob.sha256).exists() for blob in (unused, used, young)]
    assert exists == [False, True, True]


async def test_a_file_put_again_stays_when_the_row_of_its_blob_goes(site: Site) -> None:
    blob = await site.stored(b"put again", days=0)
    await site.known(blob, days=2)
    assert await site.janitor().clean_files() == {"blobs": 1}
    assert site.store.path(blob.sha256).exists()


async def test_old_files_without_a_row_are_removed(site: Site) -> None:
    orphan, young = await site.stored(b"orphan", days=2), await site.stored(b"young", days=0.9)
    known = await site.stored(b"known", days=2)
    await site.known(known, days=0)
    temporary = site.home.artifacts / "tmp" / "crashed"
    temporary.touch()
    make_old(temporary)
    removed = await site.janitor().clean_files()
    assert removed == {"files without a blob": 1, "unfinished copies": 1}
    exists = [site.store.path(blob.sha256).exists() for blob in (orphan, young, known)]
    assert exists == [False, True, True]


async def test_a_blob_being_published_is_skipped(site: Site) -> None:
    blob = await site.stored(b"content", days=0)
    await site.known(blob, days=2)
    async with site.engine.begin() as publisher:
        await publisher.execute(sa.update(blobs).values(touched_at=sa.func.now()))
        with anyio.fail_after(5):
            assert await site.janitor().clean_files() == Counter()
    assert await site.janitor().clean_files() == Counter()
    assert await site.ids(blobs.c.sha256) == {blob.sha256}


async def test_a_publisher_that_waits_for_a_deletion_makes_the_row_anew(site: Site, idle: Engine) -> None:
    """The deletion holds the row while a real stage publishes the same bytes."""
    code = "import os; open(os.environ['MLP_OUTPUT_DIR'] + '/same', 'w').write('same')"
    async with idle.supervised():
        await idle.finished(await idle.start(stage("first", python(code))))
        await site.execute(sa.delete(pipeline_runs))
        await site.execute(sa.update(blobs).values(touched_at=days_ago(2)))
        async with site.engine.begin() as deleting:
            doomed = await retention.remove_unused_blobs(deleting, StorageType.LOCAL, BLOB_GRACE, 10)
            run_id = await idle.start(stage("second", python(code)))
            await until_somebody_waits(site, "blobs")
        for digest in doomed:
            await site.store.delete(digest, older_than_seconds=BLOB_GRACE.total_seconds())
        assert (await idle.finished(run_id)).status is RunStatus.COMPLETED
    (artifact,) = (await idle.artifacts((await idle.stages(run_id))["second"].id)).values()
    assert artifact.sha256 in doomed
    assert b"".join([part async for part in site.store.open(artifact.sha256)]) == b"same"


async def until_somebody_waits(site: Site, table: str) -> None:
    """A transaction waits for another one's lock while it writes the table."""
    waits = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ILIKE '%' || :t || '%'"
    )
    with anyio.fail_after(15):
        async with site.engine.connect() as connection:
            while not (await connection.execute(waits, {"t": f"into {table}"})).scalar_one():
                await connection.rollback()
                await anyio.sleep(0.02)


async def test_stages_that_publish_while_blobs_are_cleaned_up_lose_nothing(site: Site, idle: Engine) -> None:
    code = "import os; [open(f'{os.environ[\"MLP_OUTPUT_DIR\"]}/{n}', 'w').write(str(n)) for n in range(20)]"
    async with idle.supervised(), anyio.create_task_group() as tasks:
        tasks.start_soon(clean_again_and_again, site)
        for _ in range(3):
            runs = [await idle.start(stage("only", python(code))) for _ in range(3)]
            for run_id in runs:
                assert (await idle.finished(run_id)).status is RunStatus.COMPLETED
            await site.execute(sa.delete(pipeline_runs).where(pipeline_runs.c.id != runs[-1]))
            await site.execute(sa.update(blobs).values(touched_at=days_ago(2)))
            for path in (site.home.artifacts / "blobs").glob("sha256/*/*"):
                with contextlib.suppress(FileNotFoundError):
                    make_old(path)
        tasks.cancel_scope.cancel()
    files = await idle.artifacts((await idle.stages(runs[-1]))["only"].id)
    assert len(files) == 20
    for row in files.values():
        assert (await site.store.stat(row.sha256)).size_bytes == row.file_size
    assert {row.sha256 for row in files.values()} <= await site.ids(blobs.c.sha256)


async def clean_again_and_again(site: Site) -> None:
    while True:
        await site.janitor().clean_files()
        await anyio.sleep(0.01)


async def test_old_folders_of_ended_attempts_are_removed(site: Site) -> None:
    run_id = await site.active_run(1)
    async with site.engine.connect() as connection:
        of_run = sa.select(stage_runs.c.id).where(stage_runs.c.pipeline_run_id == run_id)
        current = (await connection.execute(of_run)).scalar_one()
    await site.make.attempt(current, host_id=site.home.host_id())
    names = [f"{current}.1", f"{new_id()}.1", f"{new_id()}.1"]
    folders = [make_folders(site.home.attempts / name) for name in names]
    (folders[1] / "inputs").chmod(0o500)
    for folder in folders[:2]:
        make_old(folder)
    assert await site.janitor().clean_files() == {"folders of attempts": 1}
    assert [folder.exists() for folder in folders] == [True, False, True]


async def test_a_step_that_fails_keeps_no_other_from_its_work(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    (site.home.artifacts / "blobs").write_text("not a folder")
    (site.home.artifacts / "tmp").write_text("not a folder")
    folder = make_folders(site.home.attempts / f"{new_id()}.1")
    make_old(folder)
    blob = StoredBlob("0" * 64, 1, StorageType.LOCAL)
    await site.known(blob, days=2)
    removed = await site.janitor().clean_files()
    assert (removed["blobs"], removed["folders of attempts"]) == (1, 1)


async def test_an_outage_of_the_database_is_left_to_the_next_pass(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await site.ended_run(31)
    cleaner = site.janitor(runs=30)
    await site.execute(sa.text("ALTER TABLE stage_runs RENAME TO away"))
    assert (await cleaner.clean_database())["runs"] == 0
    assert "could not clean up, tries again" in caplog.text
    await site.execute(sa.text("ALTER TABLE away RENAME TO stage_runs"))
    assert (await cleaner.clean_database())["runs"] == 1


async def test_it_begins_by_itself_and_says_what_it_removed(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(janitor, "FIRST_PASS_SECONDS", 0.0)
    monkeypatch.setattr(janitor, "DATABASE_INTERVAL_SECONDS", 0.05)
    caplog.set_level("INFO", "app.execution.janitor")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(site.janitor(runs=30).run)
        with anyio.fail_after(10):
            for _ in range(2):
                await site.ended_run(1)
                await site.execute(sa.update(pipeline_runs).values(AGED))
                while await site.count(pipeline_runs):  # noqa: ASYNC110 (the database can't signal us)
                    await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()
    assert "removed 3 resource samples, 2 metric points, 5 events, 1 runs" in caplog.text
