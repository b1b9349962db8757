from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attempt_harness import LocalAttempts, attempts_below


@pytest.fixture
async def attempts(tmp_path: Path) -> AsyncIterator[LocalAttempts]:
    async with attempts_below(tmp_path / "attempts") as attempts:
        yield attempts
