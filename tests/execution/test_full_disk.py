"""A disk that runs full: nothing new begins, what has begun waits for room, a cancel still works."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa

from app.domain.vocabulary import FinishReason, Phase, RunStatus, StageStatus
from app.execution import drive
from tests.execution.conftest import PATIENCE_SECONDS, Engine, python, stage

MEBIBYTE = 1 << 20
WRITES_A_FILE = "import os; open(os.environ['MLP_OUTPUT_DIR'] + '/data.bin', 'wb').write(os.urandom(1 << 20))"


class SmallDisk:
    """A file system of four MiB mounted over a folder."""

    def __init__(self, folder: Path) -> None:
        self._filler = folder / "filler"

    def fill_half(self) -> None:
        self._filler.write_bytes(bytes(5 * MEBIBYTE // 2))

    def fill(self) -> None:
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def make_room(self) -> None:
        self._filler.unlink()


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def artifacts_disk(idle: Engine) -> Iterator[SmallDisk]:
    with small_disk(idle.home.artifacts) as disk:
        yield disk


@pytest.fixture
def attempts_disk(idle: Engine) -> Iterator[SmallDisk]:
    with small_disk(idle.home.attempts) as disk:
        yield disk


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive, "STORE_POLL_SECONDS", 0.1)


async def until_said(caplog: pytest.LogCaptureFixture, text: str) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        while text not in caplog.text:  # noqa: ASYNC110 (a log can't signal us)
            await anyio.sleep(0.02)


async def test_below_its_reserve_a_worker_begins_nothing_and_says_so_once(
    idle: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    idle.limits = replace(idle.limits, disk_reserve_bytes=1 << 60)
    async with idle.supervised():
        run_id = await idle.start(stage("waits"))
        await until_said(caplog, "are to stay free")
        again = await idle.start(stage("waits too"))
        await idle.cancel(again)
        assert (await idle.finished(again)).status is RunStatus.CANCELLED
        assert (await idle.run(run_id)).status is RunStatus.PENDING
    assert caplog.text.count("are to stay free") == 1


async def test_a_worker_goes_on_by_itself_when_there_is_room_again(
    idle: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with small_disk(idle.home.root) as disk:
        idle.home.make()
        idle.home.host_id()
        idle.limits = replace(idle.limits, disk_reserve_bytes=2 * MEBIBYTE)
        disk.fill()
        async with idle.supervised():
            run_id = await idle.start(stage("waits"))
            await until_said(caplog, "0 MiB are free, 2 MiB are to stay free")
            assert (await idle.run(run_id)).status is RunStatus.PENDING
            disk.make_room()
            assert (await idle.finished(run_id)).status is RunStatus.COMPLETED
    assert "has room again" in caplog.text


async def test_a_run_at_work_begins_no_new_stage_below_the_reserve(
    idle: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = tmp_path / "go-on"
    waiting = f"import os, time\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.02)"
    with small_disk(idle.home.root) as disk:
        idle.home.make()
        idle.limits = replace(idle.limits, disk_reserve_bytes=2 * MEBIBYTE)
        async with idle.supervised():
            run_id = await idle.start(stage("first", python(waiting)), stage("second", needs=["first"]))
            await idle.until(run_id, lambda stages: stages["first"].status is StageStatus.RUNNING)
            disk.fill_half()
            await until_said(caplog, "are to stay free")
            go_on.touch()
            await idle.until(run_id, lambda stages: stages["first"].status is StageStatus.COMPLETED)
            with anyio.move_on_after(0.5):
                await idle.until(run_id, lambda stages: stages["second"].attempt_number > 0)
            assert (await idle.stages(run_id))["second"].phase is Phase.READY
            disk.make_room()
            assert (await idle.finished(run_id)).status is RunStatus.COMPLETED


async def test_a_stage_whose_outputs_find_no_room_waits_for_it(
    idle: Engine, artifacts_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    artifacts_disk.fill()
    async with idle.supervised():
        run_id = await idle.start(stage("full", python(WRITES_A_FILE)))
        await until_said(caplog, "waits for room on the disk")
        assert (await idle.stages(run_id))["full"].phase is Phase.COLLECTING
        artifacts_disk.make_room()
        run = await idle.finished(run_id)
    full = (await idle.stages(run_id))["full"]
    assert (run.status, full.attempt_number) == (RunStatus.COMPLETED, 1)
    assert (await idle.artifacts(full.id))["data.bin"].file_size == MEBIBYTE
    assert caplog.text.count("waits for room on the disk") == 1


async def test_a_stage_that_finds_no_room_to_start_waits_for_it(
    idle: Engine, attempts_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    attempts_disk.fill()
    async with idle.supervised():
        run_id = await idle.start(stage("full", python(WRITES_A_FILE)))
        await until_said(caplog, "waits for room on the disk")
        assert (await idle.stages(run_id))["full"].phase is Phase.CLAIMED
        attempts_disk.make_room()
        run = await idle.finished(run_id)
    assert (run.status, (await idle.stages(run_id))["full"].attempt_number) == (RunStatus.COMPLETED, 1)


async def test_a_cancel_ends_a_stage_that_waits_for_room_to_store_its_outputs(
    idle: Engine, artifacts_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    artifacts_disk.fill()
    async with idle.supervised():
        run_id = await idle.start(stage("full", python("print('done'); " + WRITES_A_FILE)))
        await until_said(caplog, "waits for room on the disk")
        await idle.cancel(run_id)
        run = await idle.finished(run_id)
    full = (await idle.stages(run_id))["full"]
    assert (run.status, full.status) == (RunStatus.CANCELLED, StageStatus.CANCELLED)
    assert (full.finish_reason, full.exit_code, full.logs) == (FinishReason.CANCELLED, 0, "done\n")


async def test_a_cancel_ends_a_stage_that_waits_for_room_to_start(
    idle: Engine, attempts_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    attempts_disk.fill()
    async with idle.supervised():
        run_id = await idle.start(stage("full"))
        await until_said(caplog, "waits for room on the disk")
        await idle.cancel(run_id)
        run = await idle.finished(run_id)
    full = (await idle.stages(run_id))["full"]
    assert (run.status, full.status, full.started_at) == (RunStatus.CANCELLED, StageStatus.CANCELLED, None)


async def test_a_database_without_room_is_waited_for(idle: Engine, caplog: pytest.LogCaptureFixture) -> None:
    await execute(
        idle,
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$""",
        "CREATE TRIGGER full_disk BEFORE INSERT ON artifacts EXECUTE FUNCTION refuse()",
    )
    async with idle.supervised():
        run_id = await idle.start(stage("only", python("print('done')")))
        await idle.until(run_id, lambda stages: stages["only"].phase is Phase.COLLECTING)
        await anyio.sleep((drive.POISON_LIMIT + 1) * drive.RECONNECT_SECONDS)
        assert (await idle.stages(run_id))["only"].phase is Phase.COLLECTING
        await execute(idle, "DROP TRIGGER full_disk ON artifacts")
        run = await idle.finished(run_id)
    assert (run.status, (await idle.stages(run_id))["only"].attempt_number) == (RunStatus.COMPLETED, 1)


async def execute(engine: Engine, *statements: str) -> None:
    async with engine.database.begin() as connection:
        for statement in statements:
            await connection.execute(sa.text(statement))


async def test_a_cancel_reaches_a_stage_that_waits_for_an_unreachable_store(
    idle: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    away = idle.home.artifacts.with_name("elsewhere")
    idle.home.artifacts.rename(away)
    idle.home.artifacts.touch()
    async with idle.supervised():
        run_id = await idle.start(
            stage("waits", python(WRITES_A_FILE)), stage("waits too", python(WRITES_A_FILE))
        )
        await until_said(caplog, "waits for the store")
        await idle.cancel(run_id)
        assert (await idle.finished(run_id)).status is RunStatus.CANCELLED
        idle.home.artifacts.unlink()
        away.rename(idle.home.artifacts)
        assert (await idle.finished(await idle.start(stage("next")))).status is RunStatus.COMPLETED
