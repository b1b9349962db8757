"""Free space on the disk where a worker stores its files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from app.domain.units import BYTES_PER_MB


@dataclass(frozen=True)
class DiskReserve:
    """Space on the file system of ``folder`` that new work leaves free."""

    folder: Path
    reserve_bytes: int

    def shortage(self) -> str | None:
        """What is wrong, without a path; None if there is enough space."""
        try:
            free_bytes = shutil.disk_usage(self.folder).free
        except OSError as error:
            return f"can't be asked ({error.strerror})"
        if free_bytes >= self.reserve_bytes:
            return None
        free, reserve = free_bytes / BYTES_PER_MB, self.reserve_bytes / BYTES_PER_MB
        return f"low: {free:.0f} MiB are free, {reserve:.0f} MiB are to stay free; no new stage is started"
