"""The identity in an attempt's lock: it leads to the process of the shim, and to no other process."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.runner.lock import open_pidfd, take_lock, write_identity


@pytest.fixture
def other() -> Iterator[int]:
    """The pid of a living process that holds no lock."""
    with subprocess.Popen(["sleep", "100"]) as process:
        yield process.pid
        process.kill()


def identity_of_this_process(path: Path) -> dict[str, object]:
    lock = take_lock(str(path))
    assert lock is not None
    write_identity(lock)
    os.close(lock)
    identity: dict[str, object] = json.loads(path.read_text())
    return identity


def reach(path: Path, identity: dict[str, object]) -> bool:
    """Whether the process with this identity can be opened."""
    path.write_text(json.dumps(identity))
    descriptor = open_pidfd(str(path))
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def test_the_process_that_wrote_the_identity_is_reached(tmp_path: Path) -> None:
    assert reach(tmp_path / "lock", identity_of_this_process(tmp_path / "lock"))


def test_a_process_with_a_recycled_pid_is_not_mistaken_for_the_shim(tmp_path: Path, other: int) -> None:
    identity = identity_of_this_process(tmp_path / "lock")
    assert not reach(tmp_path / "lock", {**identity, "pid": other})


@pytest.mark.parametrize("changed", [{"bootId": "another"}, {"pidNamespace": 1}, {"pid": "none"}])
def test_a_process_of_another_boot_or_namespace_is_not_reached(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    identity = identity_of_this_process(tmp_path / "lock")
    assert not reach(tmp_path / "lock", {**identity, **changed})
