"""The guardian by itself: what it does when the process that it guards ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

PROJECT = Path(__file__).parents[2]
GUARDED = """
import os, signal, subprocess, sys, time
sys.path.append(sys.argv[1])
from app.runner.guardian import guard
guard()
hidden = subprocess.Popen(
    ["sh", "-c", "trap '' TERM HUP; (setsid env -i sleep 100 & echo $!); exec sleep 100"],
    stdout=subprocess.PIPE, text=True, start_new_session=True, env={},
)
print(os.getpid(), hidden.pid, hidden.stdout.readline(), flush=True)
sys.stdin.readline()
"""
"""Prints the pids of the guarded process, of its child and of a grandchild in a session of its own."""


@contextlib.contextmanager
def guarded(end: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A guardian, and the pids of the three processes below it."""
    command = [sys.executable, "-S", "-I", "-c", GUARDED + end, str(PROJECT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as guardian:
        assert guardian.stdout is not None
        pids = [int(pid) for pid in guardian.stdout.readline().split()]
        try:
            yield guardian, pids
        finally:
            for pid in [guardian.pid, *pids]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def living(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


def test_it_stays_while_its_process_lives_and_ignores_signals(capfd: pytest.CaptureFixture[str]) -> None:
    with guarded("") as (guardian, pids):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            guardian.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            guardian.wait(0.3)
        assert living(pids) == pids


def test_when_its_process_is_killed_it_ends_only_after_all_descendants() -> None:
    with guarded("") as (guardian, pids):
        os.kill(pids[0], signal.SIGKILL)
        assert guardian.wait(10) == 0
        assert living(pids) == []


def test_when_its_process_ends_well_it_leaves_the_rest_alone() -> None:
    with guarded("os._exit(0)") as (guardian, pids):
        guardian.communicate("end\n", timeout=10)
        assert guardian.returncode == 0
        assert living(pids) == pids[1:]
