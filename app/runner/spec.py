"""What one attempt runs and within which limits, as the executor wrote it to ``spec.json``."""

from __future__ import annotations

import contextlib
import json
import os

from app.runner import files


class Spec:
    """The content of ``spec.json``. A plain class: importing dataclasses would double the shim's start time."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        with open(self.path(files.SPEC), "rb") as file:
            document = json.load(file)
        self.argv: list[str] = document["argv"]
        self.env: dict[str, str] = document["env"]
        self.cwd: str = document["cwd"]
        self.timeout_seconds: float | None = document["timeoutSeconds"]
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
        """Delete the file: its environment may hold secrets, and nobody needs it once the stage was started."""
        with contextlib.suppress(OSError):
            os.unlink(self.path(files.SPEC))
