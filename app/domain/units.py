"""Units: memory in MB of 1024 x 1024 bytes, sizes in bytes, times in seconds."""

from __future__ import annotations

BYTES_PER_MB = 2**20
