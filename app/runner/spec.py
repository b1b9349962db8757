"""What an attempt runs, and its limits: ``spec.json``, written by the executor."""

from __future__ import annotations

import contextlib
import json
import os

from app.runner import files

TYPE_CHECKING = False  # importing typing would cost the shim a fifth of its start time
if TYPE_CHECKING:
    from typing import Any


class Spec:
    """The content of ``spec.json``. A plain class, because importing dataclasses would double the shim's start time."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        with open(self.path(files.SPEC), "rb") as file:
            document = json.load(file)
        self.config: dict[str, Any] = document["config"]
        """The stage's configuration, with the spelling of ``StageRun.spec``."""
        self.argv: list[str] = self.config["command"]
        self.env: dict[str, str] = self.config["env"]
        self.cwd: str = self.config["workdir"]
        self.timeout_seconds: float | None = self.config["timeoutSeconds"]
        self.grace_seconds: float = document["graceSeconds"]
        self.straggler_grace_seconds: float = document["stragglerGraceSeconds"]
        self.log_limit_bytes: int = document["logLimitBytes"]
        self.sample_interval_seconds: float = document["sampleIntervalSeconds"]
        self.memory_limit_bytes: int | None = document["memoryLimitBytes"]
        self.site_paths: list[str] = document["sitePaths"]

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def cancel_asked(self) -> bool:
        return os.path.exists(self.path(files.CANCEL))

    def remove(self) -> None:
        """Deletes the file once the stage has started: its environment may hold secrets."""
        with contextlib.suppress(OSError):
            os.unlink(self.path(files.SPEC))
