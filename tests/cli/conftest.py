"""``mlp`` as a process, and one server for all tests of the commands."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

DEADLINE_SECONDS = 60
MLP = str(Path(sys.executable).with_name("mlp"))
TOKEN = "a token for the tests of the command line"


@dataclass(frozen=True)
class Mlp:
    """Runs ``mlp`` with its own home, a token, and a port on which no server listens."""

    home: Path

    def __call__(
        self, *args: object, deadline_seconds: float = DEADLINE_SECONDS, **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [MLP, *map(str, args)],
            env=self.environment(env),
            capture_output=True,
            text=True,
            timeout=deadline_seconds,
            check=False,
        )

    def start(self, *args: object, **env: str) -> Running:
        process = subprocess.Popen(
            [MLP, *map(str, args)],
            env=self.environment(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return Running(process)

    def environment(self, env: dict[str, str]) -> dict[str, str]:
        own = {"MLP_HOME": str(self.home), "MLP_API_TOKEN": TOKEN, "PORT": "1", "PYTHONUTF8": "1"}
        return {"PATH": os.environ["PATH"], **own, **env}


class Running:
    """A running command; threads read its output, so that no pipe fills up."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read_output, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        self.output = ""
        self.errors = ""
        for reader in self._readers:
            reader.start()

    def line_with(self, text: str, within_seconds: float = DEADLINE_SECONDS) -> str:
        """The next line of the standard output that contains the text."""
        deadline = time.monotonic() + within_seconds
        while text not in (line := self._lines.get(timeout=max(0.0, deadline - time.monotonic()))):
            pass
        return line

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self, within_seconds: float = DEADLINE_SECONDS) -> int:
        """Wait for the end; returns the exit code. Then the output is complete."""
        code = self._process.wait(within_seconds)
        for reader in self._readers:
            reader.join(DEADLINE_SECONDS)
        return code

    def kill(self) -> None:
        """End the process if it is still running."""
        if self._process.poll() is None:
            self._process.kill()
        self.end()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output += line
            self._lines.put(line)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.errors += line


@dataclass(frozen=True)
class Server:
    """A running server, and ``mlp`` with the same home."""

    url: str
    mlp: Mlp


@pytest.fixture
def mlp(mlp_home: Path) -> Mlp:
    """``mlp`` with its own home."""
    return Mlp(mlp_home)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """``mlp serve`` with the built-in database; it requires the token that ``mlp`` sends."""
    with tempfile.TemporaryDirectory(prefix="mlp-cli-") as home:
        mlp = Mlp(Path(home))
        running = mlp.start("serve", "--port", 0, MLP_GRACE_SECONDS="1")
        try:
            url = running.line_with("is ready: ").split("ready: ")[1].strip()
            yield Server(url.removesuffix("/graphql"), mlp)
            running.signal(signal.SIGTERM)
            assert running.end() == 0, running.errors
        finally:
            running.kill()


@pytest.fixture
def pipeline(tmp_path: Path) -> PipelineWriter:
    return PipelineWriter(tmp_path)


class PipelineWriter:
    """Writes pipeline files whose stages are shell lines."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str, **commands: str) -> Path:
        """One stage per command, each after the one before."""
        lines = [f"name: {name}", "stages:"]
        before: list[str] = []
        for stage, command in commands.items():
            lines += [f"  - name: {stage}", "    stageType: CUSTOM", "    customName: test"]
            lines += [
                f"    dependencies: [{', '.join(before)}]",
                "    config:",
                f"      command: {command!r}",
            ]
            before = [stage]
        path = self._folder / f"{name}.yaml"
        path.write_text("\n".join(lines))
        return path
