"""A program on the client that ariadne-codegen made; prints its results as one line of JSON."""

from __future__ import annotations

import asyncio
import json
import sys

from typed_client import Client, UpdateRunInput


async def main(url: str, run_id: str) -> None:
    async with Client(url=url) as client:
        run = (await client.run(id=run_id)).run
        assert run is not None
        await client.update(input=UpdateRunInput(runId=run_id, tags=["python"]))
        updated = (await client.update(input=UpdateRunInput(runId=run_id, notes="typed"))).update_run
    learned = {
        "status": run.status.value,
        "year": run.created_at.year,
        "events": run.last_event_seq,
        "stages": [stage.name for stage in run.stage_runs],
        "sizes": [artifact.file_size for stage in run.stage_runs for artifact in stage.artifacts.nodes],
        "notes": updated.run.notes if updated.run else None,
        "tags": updated.run.tags if updated.run else None,
        "errors": [error.code.value for error in updated.errors],
    }
    sys.stdout.write(json.dumps(learned))


asyncio.run(main(sys.argv[1], sys.argv[2]))
