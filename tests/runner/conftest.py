from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attempt_harness import Attempts, attempts_below


@pytest.fixture
async def attempts(tmp_path: Path) -> AsyncIterator[Attempts]:
    async with attempts_below(tmp_path / "attempts") as attempts:
        yield attempts
