"""A program that uses the embedded PostgreSQL until its input ends: ``hold_postgres.py HOME [UID GID]``.

Prints the URL, or the EmbeddedPostgresError. With ids it switches from root to them first.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from app.postgres.errors import EmbeddedPostgresError
from app.postgres.server import EmbeddedPostgres


async def hold(home: Path) -> None:
    try:
        async with EmbeddedPostgres(home) as url:
            say(url)
            await asyncio.to_thread(sys.stdin.read)
    except EmbeddedPostgresError as error:
        say(f"EmbeddedPostgresError: {error}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def become(uid: int, gid: int) -> None:
    # The interpreter's own modules may lie where only root can read them, so they are loaded before.
    asyncio.run(asyncio.to_thread(int))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


if ids := [int(argument) for argument in sys.argv[2:]]:
    become(*ids)
asyncio.run(hold(Path(sys.argv[1])))
