"""``Run.triggerType`` of runs that clients start: MANUAL if people use the client, or else API."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from app.domain.clients import CLIENT_HEADER
from app.graphql.shared.ids import global_id
from tests.factories import Factory

START = "mutation($input: StartRunInput!) { startRun(input: $input) { run { id triggerType triggeredBy } } }"
CANCEL = "mutation($input: CancelRunInput!) { cancelRun(input: $input) { run { id } } }"
RETRY = "mutation($input: RetryRunInput!) { retryRun(input: $input) { run { triggerType triggeredBy } } }"


async def post(address: str, headers: dict[str, str], query: str, **values: Any) -> Any:
    body = {"query": query, "variables": {"input": values}}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"http://{address}/graphql", json=body) as response,
    ):
        answer = await response.json()
    assert "errors" not in answer, answer
    [payload] = answer["data"].values()
    return payload["run"]


@pytest.mark.parametrize(
    ("client", "trigger"),
    [("mlp", "MANUAL"), ("graphiql", "MANUAL"), (None, "API"), ("nightly-job", "API"), ("", "API")],
)
async def test_the_client_decides_what_triggered_a_run_and_a_retry(
    server: str, make: Factory, client: str | None, trigger: str
) -> None:
    pipeline_id = await make.pipeline()
    await make.stage(pipeline_id, config={"command": ["true"]})
    headers = {} if client is None else {CLIENT_HEADER: client}
    values = {"pipelineId": global_id("Pipeline", pipeline_id), "triggeredBy": "ada"}
    run = await post(server, headers, START, **values)
    assert (run["triggerType"], run["triggeredBy"]) == (trigger, "ada")
    await post(server, {}, CANCEL, runId=run["id"])
    again = await post(server, headers, RETRY, runId=run["id"])
    assert (again["triggerType"], again["triggeredBy"]) == (trigger, "ada")
