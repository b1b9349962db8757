"""The log of an attempt, wherever its bytes are."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from live_run import LiveRun
from shared_database import shared_database
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.vocabulary import ArtifactType, Phase, StageStatus
from app.errors import DomainError, NotFound
from app.execution.executors.local import LocalExecutor
from app.services.logs import KnownLog, LogReader, LogSlice, decode_log
from app.storage.local import LocalStore
from tests.stored_files import put_file

TEXT = b"epoch 1\nepoch 2\n"


@pytest.fixture(scope="module")
async def database_url(postgres_url: str, migrated_template: str) -> AsyncIterator[str]:
    """One for all tests here: each looks at the run that it made."""
    async with shared_database(postgres_url, migrated_template) as url:
        yield url


@pytest.fixture
async def run(engine: AsyncEngine) -> LiveRun:
    return await LiveRun.insert(engine)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "artifacts")


@pytest.fixture
def reader(tmp_path: Path, store: LocalStore, engine: AsyncEngine) -> LogReader:
    return LogReader(LocalExecutor(tmp_path / "attempts"), store, engine)


@pytest.fixture
def live_log(tmp_path: Path, run: LiveRun) -> Path:
    """The log in the folder of the first attempt."""
    folder = tmp_path / "attempts" / f"{run.stage_run_id}.1"
    folder.mkdir(parents=True)
    path = folder / "output.log"
    path.write_bytes(TEXT)
    return path


async def put_log(store: LocalStore, run: LiveRun, tmp_path: Path, content: bytes, attempt: int = 1) -> None:
    path = tmp_path / "to be stored"
    path.write_bytes(content)
    blob = await put_file(store, path)
    await run.add_artifact(
        blob, "output.log", attempt=attempt, artifact_type=ArtifactType.LOG, is_captured_log=True
    )


async def test_a_live_log_is_read_in_pieces_and_never_final(
    reader: LogReader, run: LiveRun, live_log: Path
) -> None:
    first = await reader.read(run.stage_run_id, None, 10)
    assert first == LogSlice(attempt=1, offset=0, next_offset=10, data=TEXT[:10], final=False)
    rest = await reader.read(run.stage_run_id, first.next_offset, 1000)
    assert rest == LogSlice(attempt=1, offset=10, next_offset=len(TEXT), data=TEXT[10:], final=False)


async def test_a_log_is_final_with_its_last_byte_once_the_attempt_has_ended(
    reader: LogReader, run: LiveRun, live_log: Path
) -> None:
    await run.finish_stage_run()
    assert not (await reader.read(run.stage_run_id, 0, len(TEXT) - 1)).final
    assert (await reader.read(run.stage_run_id, 0, len(TEXT))).final
    assert (await reader.read(run.stage_run_id, len(TEXT), 10)).final


async def test_an_attempt_that_failed_has_ended_while_the_stage_run_waits_for_the_next(
    reader: LogReader, run: LiveRun, live_log: Path
) -> None:
    await run.update_stage_run(phase=Phase.READY, status=StageStatus.PENDING)
    assert (await reader.read(run.stage_run_id, None, 1000)).final
    await run.update_stage_run(phase=Phase.CLAIMED, attempt_number=2)
    assert await reader.read(run.stage_run_id, None, 1000) == LogSlice(2, 0, 0, b"", final=False)
    assert (await reader.read(run.stage_run_id, None, 1000, attempt=1)).data == TEXT


async def test_offsets_outside_of_the_log_are_moved_into_it(
    reader: LogReader, run: LiveRun, live_log: Path
) -> None:
    beyond = await reader.read(run.stage_run_id, 10_000, 10)
    assert (beyond.offset, beyond.data) == (len(TEXT), b"")
    assert (await reader.read(run.stage_run_id, -8, 100)).data == b"epoch 2\n"
    assert (await reader.read(run.stage_run_id, -10_000, 100)).data == TEXT


async def test_without_its_folder_the_log_comes_from_the_store(
    reader: LogReader, store: LocalStore, run: LiveRun, tmp_path: Path
) -> None:
    await put_log(store, run, tmp_path, TEXT)
    await run.finish_stage_run()
    assert await reader.read(run.stage_run_id, 6, 4) == LogSlice(1, 6, 10, TEXT[6:10], final=False)
    assert await reader.read(run.stage_run_id, -8, 100) == LogSlice(1, 8, len(TEXT), TEXT[8:], final=True)
    assert await reader.read(run.stage_run_id, 99, 4) == LogSlice(1, len(TEXT), len(TEXT), b"", final=True)


async def test_what_is_known_of_a_log_spares_the_statements(
    engine: AsyncEngine,
    reader: LogReader,
    store: LocalStore,
    run: LiveRun,
    live_log: Path,
    tmp_path: Path,
) -> None:
    at_work = KnownLog(run.stage_run_id, 1, Phase.RUNNING, 1, None)
    assert await reader.read_known(at_work, 8, 100) == LogSlice(1, 8, len(TEXT), TEXT[8:], final=False)
    await put_log(store, run, tmp_path, TEXT)
    await run.finish_stage_run()
    live_log.unlink()
    assert await reader.read_known(at_work, 8, 100) == LogSlice(1, 8, len(TEXT), TEXT[8:], final=True)
    blob = await put_file(store, tmp_path / "to be stored")
    over = KnownLog(run.stage_run_id, 1, Phase.FINAL, 1, blob)
    assert await reader.read_known(over, -8, 4) == LogSlice(1, 8, 12, TEXT[8:12], final=False)
    silent = KnownLog(run.stage_run_id, 1, Phase.FINAL, 1, None)
    assert await reader.read_known(silent, None, 100) == LogSlice(1, 0, 0, b"", final=True)


async def test_an_output_that_is_called_like_the_log_is_not_the_log(
    reader: LogReader, store: LocalStore, run: LiveRun, tmp_path: Path
) -> None:
    path = tmp_path / "to be stored"
    path.write_bytes(b"not what was printed")
    await run.add_artifact(await put_file(store, path), "output.log", artifact_type=ArtifactType.LOG)
    assert (await reader.read(run.stage_run_id, None, 100)).data == b""


async def test_each_attempt_has_its_own_stored_log(
    reader: LogReader, store: LocalStore, run: LiveRun, tmp_path: Path
) -> None:
    await put_log(store, run, tmp_path, b"first", attempt=1)
    await put_log(store, run, tmp_path, b"second", attempt=2)
    await run.update_stage_run(attempt_number=2, phase=Phase.FINAL, status=StageStatus.COMPLETED)
    assert (await reader.read(run.stage_run_id, None, 100, attempt=1)).data == b"first"
    assert (await reader.read(run.stage_run_id, None, 100)).data == b"second"


async def test_an_unknown_attempt_has_no_log(reader: LogReader, run: LiveRun) -> None:
    for attempt in (0, 2):
        with pytest.raises(DomainError, match=f"there is no attempt {attempt};"):
            await reader.read(run.stage_run_id, None, 100, attempt=attempt)


async def test_a_stage_run_without_attempts_has_an_empty_log(engine: AsyncEngine, reader: LogReader) -> None:
    run = await LiveRun.insert(engine, attempt=0)
    assert await reader.read(run.stage_run_id, None, 100) == LogSlice(0, 0, 0, b"", final=False)
    await run.finish_stage_run()
    assert await reader.read(run.stage_run_id, None, 100) == LogSlice(0, 0, 0, b"", final=True)


async def test_an_unknown_stage_run_is_not_found(reader: LogReader) -> None:
    with pytest.raises(NotFound):
        await reader.read(uuid.uuid4(), None, 100)


async def test_a_link_or_pipe_in_place_of_the_log_is_not_followed(
    reader: LogReader, run: LiveRun, live_log: Path
) -> None:
    live_log.unlink()
    live_log.symlink_to("/etc/passwd")
    assert (await reader.read(run.stage_run_id, None, 100)).data == b""
    live_log.unlink()
    os.mkfifo(live_log)
    assert (await reader.read(run.stage_run_id, None, 100)).data == b""


@pytest.mark.parametrize("cut", range(1, 12))
def test_text_is_the_same_wherever_the_log_is_cut(cut: int) -> None:
    data = "aé漢🙂b".encode()
    text, used = decode_log(data[:cut], final=False)
    rest, _ = decode_log(data[used:], final=True)
    assert text + rest == "aé漢🙂b"


def test_what_is_no_text_becomes_replacement_characters() -> None:
    assert decode_log(b"a\xff\0b", final=False) == ("a��b", 4)
    assert decode_log(b"a\xf0\x9f", final=True) == ("a�", 3)
    assert decode_log(b"a\xf0\x9f", final=False) == ("a", 1)
