"""Inspects files in a child process: a hostile file can take bounded time and memory, and do no harm."""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.domain.text import clean_json
from app.inspection.facts import Inspection

_ROOT = Path(__file__).parents[2]
_START = "import sys; sys.path.append(sys.argv.pop()); from app.inspection.__main__ import main; main()"
_READ_BYTES = 1 << 16
_LINE_LIMIT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class InspectionLimits:
    """Wall-clock time for one file, and for all files of one call."""

    file_seconds: float = 60.0
    total_seconds: float = 300.0


async def inspect_files(
    files: Sequence[tuple[Path, str]],
    limits: InspectionLimits = InspectionLimits(),
) -> list[Inspection]:
    """The facts about each ``(path, name)``; the suffix of the name says what the content should be.

    Never raises because of a file: one that can't be inspected gets an ``error``. One child process inspects all
    files; if a file kills it, a new one inspects the rest.
    """
    if not files:
        return []
    inspector = _Inspector(files, limits)
    try:
        return await asyncio.to_thread(inspector.run)
    except asyncio.CancelledError:
        inspector.stop()
        raise


class _ChildFailed(Exception):
    """The child process did not answer for the current file."""


class _Inspector:
    """Runs in a thread, because starting a process would block the event loop."""

    def __init__(self, files: Sequence[tuple[Path, str]], limits: InspectionLimits) -> None:
        self._files = files
        self._limits = limits
        self._found: list[Inspection] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(self) -> list[Inspection]:
        deadline = time.monotonic() + self._limits.total_seconds
        while len(self._found) < len(self._files) and not self._stopped:
            if time.monotonic() >= deadline:
                self._give_up()
                break
            self._run_child(deadline)
        return self._found

    def stop(self) -> None:
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def _run_child(self, deadline: float) -> None:
        files = self._files[len(self._found) :]
        with _start_child() as process:
            self._process = process
            try:
                answers = _Answers(process)
                _send(process, files)
                for _ in files:
                    if self._stopped:
                        return
                    now = time.monotonic()
                    line = answers.next_line(min(deadline, now + self._limits.file_seconds))
                    self._found.append(Inspection(**clean_json(json.loads(line))))
            except _ChildFailed as failure:
                self._found.append(Inspection(error=str(failure)))
            finally:
                process.kill()

    def _give_up(self) -> None:
        missing = len(self._files) - len(self._found)
        reason = f"not inspected: the files before it took {self._limits.total_seconds:g} s"
        self._found.extend(Inspection(error=reason) for _ in range(missing))


def _start_child() -> subprocess.Popen[bytes]:
    # Without site-packages the child starts in half the time and can import only the standard library.
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _START, str(_ROOT)]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        start_new_session=True,
    )


def _send(process: subprocess.Popen[bytes], files: Sequence[tuple[Path, str]]) -> None:
    lines = [json.dumps({"path": str(path.absolute()), "name": name}) + "\n" for path, name in files]
    assert process.stdin is not None
    try:
        process.stdin.write("".join(lines).encode())
        process.stdin.close()
    except BrokenPipeError as error:
        raise _ChildFailed("the inspection did not start") from error


class _Answers:
    """The lines of the child's output, each with a deadline."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._process = process
        self._fd = process.stdout.fileno()
        self._buffer = b""

    def next_line(self, deadline: float) -> bytes:
        with selectors.DefaultSelector() as selector:
            selector.register(self._fd, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise _ChildFailed("its inspection took too long")
                data = os.read(self._fd, _READ_BYTES)
                if not data or len(self._buffer) > _LINE_LIMIT_BYTES:
                    raise _ChildFailed(self._why_it_ended())
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _why_it_ended(self) -> str:
        self._process.kill()
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return "its inspection took too much CPU time"
        return (
            f"its inspection was ended by {signal.Signals(-code).name}"
            if code < 0
            else "its inspection failed"
        )
