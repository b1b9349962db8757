"""What a stage prints: stored byte for byte, bounded, and never a reason for the stage to fail."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from attempt_harness import LocalAttempts, attempts_below

from app.domain.vocabulary import FinishReason
from app.runner.journal import JournalWriter, read_journal
from app.runner.logs import TAIL_BYTES, BoundedLog

LIMIT_BYTES = 200_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_binary_output_is_stored_byte_for_byte(attempts: LocalAttempts, tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    attempt_id = await attempts.start("bash", "-c", f"head -c 3000000 /dev/urandom | tee {reference}")
    result = await attempts.end(attempt_id)
    assert attempts.output(attempt_id) == reference.read_bytes()
    assert (result.log_bytes, result.log_dropped_bytes) == (3_000_000, 0)


async def test_both_streams_are_stored_in_the_order_of_their_writes(attempts: LocalAttempts) -> None:
    attempt_id = await attempts.start("sh", "-c", "echo one; echo two >&2; echo three")
    await attempts.end(attempt_id)
    assert attempts.output(attempt_id) == b"one\ntwo\nthree\n"


async def test_output_above_the_limit_keeps_its_head_and_its_tail(attempts: LocalAttempts) -> None:
    attempt_id = await attempts.start("seq", "1000000", log_limit_bytes=LIMIT_BYTES)
    result = await attempts.end(attempt_id)
    whole = "".join(f"{number}\n" for number in range(1, 1_000_001)).encode()
    dropped = len(whole) - LIMIT_BYTES - TAIL_BYTES
    marker = f"\n[... {dropped} bytes dropped ...]\n".encode()
    assert attempts.output(attempt_id) == whole[:LIMIT_BYTES] + marker + whole[-TAIL_BYTES:]
    assert (result.log_bytes, result.log_dropped_bytes) == (LIMIT_BYTES + TAIL_BYTES, dropped)
    [truncated] = await attempts.events(attempt_id, "logTruncated")
    assert truncated.data == {"logBytes": LIMIT_BYTES}


def test_output_just_above_the_limit_is_whole(tmp_path: Path) -> None:
    journal = JournalWriter(str(tmp_path / "events.jsonl"))
    log = BoundedLog(str(tmp_path / "output.log"), 10, journal)
    for chunk in (b"12345", b"67890abc", b"def"):
        log.write(chunk)
    log.close()
    assert (tmp_path / "output.log").read_bytes() == b"1234567890abcdef"
    assert (log.kept_bytes, log.dropped_bytes) == (16, 0)


async def test_a_full_disk_costs_output_but_neither_the_stage_nor_its_result(small_disk: Path) -> None:
    script = "head -c 3000000 /dev/zero; echo survived >&2; sleep 0.5; exit 7"
    async with attempts_below(small_disk) as attempts:
        attempt_id = await attempts.start("bash", "-c", script)
        result = await attempts.end(attempt_id)
        assert (result.finish_reason, result.exit_code) == (FinishReason.EXITED, 7)
        assert result.log_bytes + result.log_dropped_bytes == 3_000_009
        assert result.log_dropped_bytes > 1_900_000
        assert len(attempts.output(attempt_id)) == result.log_bytes
        events, _ = read_journal(attempts.path(attempt_id, "events.jsonl"), 0)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        errors = [event.data["errno"] for event in events if event.kind == "logError"]
        assert set(errors) <= {errno.ENOSPC}
