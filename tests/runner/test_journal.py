"""The journal: every event once and in order, whatever happened to the file."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from attempt_harness import LocalAttempts

from app.runner.journal import READ_BYTES, JournalEvent, JournalWriter, read_journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def file_size_limit() -> Iterator[int]:
    """Writes beyond this size are cut off and then refused, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) is signal.SIG_IGN, "else the limit would kill the test"
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    yield 100
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def kinds(events: list[JournalEvent]) -> list[str]:
    return [event.kind for event in events]


async def test_the_events_of_an_attempt_are_numbered_without_gaps(attempts: LocalAttempts) -> None:
    attempt_id = await attempts.start("sh", "-c", "echo hello; sleep 0.5", sample_interval_seconds=0.05)
    await attempts.end(attempt_id)
    events = await attempts.events(attempt_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len(events) >= 6
    assert kinds(events) == ["started", *["sample"] * (len(events) - 2), "finished"]
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert events[-1].data == {"finishReason": "EXITED", "exitCode": 0, "signal": None}


async def test_a_missing_journal_has_no_events(path: Path) -> None:
    assert read_journal(path, 0) == ([], 0)


def test_a_reader_goes_on_where_it_stopped(path: Path) -> None:
    writer = JournalWriter(str(path))
    writer.write("started", pid=1)
    first, offset = read_journal(path, 0)
    writer.write("finished", exitCode=0)
    second, end = read_journal(path, offset)
    assert (kinds(first), kinds(second)) == (["started"], ["finished"])
    assert (second[0].seq, second[0].data) == (2, {"exitCode": 0})
    assert read_journal(path, end) == ([], path.stat().st_size)


def test_a_line_still_being_written_is_left_for_the_next_call(path: Path) -> None:
    complete, torn = b'{"seq":1,"at":1.5,"kind":"started"}\n', b'{"seq":2,"at":2.5,"ki'
    path.write_bytes(complete + torn)
    events, offset = read_journal(path, 0)
    assert (kinds(events), offset) == (["started"], len(complete))
    path.write_bytes(complete + torn + b'nd":"finished"}\n')
    assert kinds(read_journal(path, offset)[0]) == ["finished"]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xfe\x00",
        b"",
        b"null",
        b"[1]",
        b'"text"',
        b"{}",
        b'{"seq":1,"at":1.5,"ki',
        b'{"seq":"1","at":1.5,"kind":"x"}',
        b'{"seq":1,"at":"now","kind":"x"}',
        b'{"seq":1,"at":1.5,"kind":[]}',
        b'{"seq":1,"at":NaN,"kind":"x"}',
        b'{"seq":1,"at":1e999,"kind":"x"}',
        b'{"seq":1,"at":-1,"kind":"x"}',
        b'{"seq":99999999999999999999,"at":1.5,"kind":"x"}',
        b"[" * 100_000,
    ],
    ids=lambda garbage: repr(garbage[:40]),
)
def test_a_line_that_is_no_event_is_skipped(path: Path, garbage: bytes) -> None:
    path.write_bytes(garbage + b'\n{"seq":1,"at":1.5,"kind":"started"}\n')
    events, offset = read_journal(path, 0)
    assert (kinds(events), offset) == (["started"], path.stat().st_size)


def test_garbage_without_an_end_does_not_stop_the_reader(path: Path) -> None:
    path.write_bytes(b"x" * (READ_BYTES + 10) + b'\n{"seq":1,"at":1.5,"kind":"started"}\n')
    events, offset = read_journal(path, 0)
    assert (events, offset) == ([], READ_BYTES)
    assert kinds(read_journal(path, offset)[0]) == ["started"]


def test_a_call_reads_a_bounded_part_and_all_calls_together_read_everything(path: Path) -> None:
    line = b'{"seq":%d,"at":1.5,"kind":"sample","padding":"' + b"x" * 1000 + b'"}\n'
    path.write_bytes(b"".join(line % number for number in range(1, 3001)))
    numbers, offset, calls = [], 0, 0
    while (batch := read_journal(path, offset))[0]:
        numbers += [event.seq for event in batch[0]]
        assert batch[1] - offset <= READ_BYTES
        offset, calls = batch[1], calls + 1
    assert numbers == list(range(1, 3001))
    assert calls == 4


def test_an_event_torn_by_a_full_disk_is_not_counted_and_spoils_no_other(
    path: Path, file_size_limit: int
) -> None:
    writer = JournalWriter(str(path))
    writer.write("started", pid=1)
    writer.write("stopping", reason="x" * 200)
    assert path.stat().st_size == file_size_limit
    writer.write("lost")
    os.truncate(path, file_size_limit - 10)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    writer.write("finished")
    events, _ = read_journal(path, 0)
    assert [(event.seq, event.kind) for event in events] == [(1, "started"), (2, "finished")]
    assert writer.seq == 2
