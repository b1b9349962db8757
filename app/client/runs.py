"""What commands do on a server: register a pipeline, start a run of it, read it, cancel it."""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

from app.client import documents
from app.client.connection import Connection
from app.client.errors import Refused, Unreachable
from app.client.pipeline_file import PipelineFile
from app.errors import DomainError

_START_TRIES = 3


@dataclass(frozen=True)
class RunRequest:
    """The options of one run."""

    run_config: Mapping[str, Any]
    environment: str | None = None
    tags: Sequence[str] = ()
    notes: str | None = None


async def register(
    connection: Connection, file: PipelineFile, note: Callable[[str], object] = lambda text: None
) -> str:
    """Update the newest pipeline of this name, or create one; returns its id.

    Names are not unique: ``note`` is called if there are several.
    """
    found = await _newest_pipelines(connection, file.name)
    pipeline_id = found[0] if found else None
    if len(found) > 1:
        note(f"Several pipelines are named {file.name!r}; the newest is used: {pipeline_id}")
    if pipeline_id is None:
        data = await connection.execute(documents.CREATE_PIPELINE, input=dict(file.draft))
        payload = data["createPipeline"]
    else:
        whole = {"description": None, "config": None, **file.draft, "pipelineId": pipeline_id}
        data = await connection.execute(documents.UPDATE_PIPELINE, input=whole)
        payload = data["updatePipeline"]
    if problems := _problems(payload):
        raise file.refusal(problems)
    return str(payload["pipeline"]["id"])


async def start_run(connection: Connection, pipeline_id: str, request: RunRequest) -> str:
    """Start a run; returns its id. A request without an answer is repeated, and still starts one run only."""
    request_input = {
        "pipelineId": pipeline_id,
        "runConfig": dict(request.run_config) or None,
        "environment": request.environment,
        "triggeredBy": user_name(),
        "tags": list(request.tags),
        "notes": request.notes,
        "idempotencyKey": str(uuid.uuid4()),
    }
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(Unreachable), stop=stop_after_attempt(_START_TRIES), reraise=True
    )
    payload: dict[str, Any] = (await retrying(connection.execute, documents.START_RUN, input=request_input))[
        "startRun"
    ]
    if problems := _problems(payload):
        raise Refused(*(problem.message for problem in problems))
    return str(payload["run"]["id"])


async def cancel_run(connection: Connection, run_id: str) -> None:
    """Cancel the run. Does nothing if the run has ended."""
    await connection.execute(
        documents.CANCEL_RUN, input={"runId": run_id, "reason": "interrupted", "cancelledBy": user_name()}
    )


async def read_run(connection: Connection, run_id: str) -> dict[str, Any]:
    """The present state of the run and its stage runs. Raises ``Refused`` if there is no such run."""
    run = (await connection.execute(documents.RUN, id=run_id))["run"]
    if run is None:
        raise Refused(f"there is no run {run_id} on {connection.url}")
    found: dict[str, Any] = run
    return found


def user_name() -> str | None:
    """The name of the user of this process, if it has one."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


async def _newest_pipelines(connection: Connection, name: str) -> list[str]:
    """Up to two ids, newest first, of pipelines with exactly this name; the filter finds names that contain it."""
    found: list[str] = []
    after = None
    while True:
        page = (await connection.execute(documents.FIND_PIPELINES, name=name, after=after))["pipelines"]
        found += [str(pipeline["id"]) for pipeline in page["nodes"] if pipeline["name"] == name]
        if len(found) > 1 or not page["pageInfo"]["hasNextPage"]:
            return found[:2]
        after = page["pageInfo"]["endCursor"]


def _problems(payload: Mapping[str, Any]) -> list[DomainError]:
    return [DomainError(error["message"], path=error["path"]) for error in payload["errors"]]
