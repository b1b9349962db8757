"""Thousands of generated operations on a real server with real data: none causes an internal error.

``MLP_FUZZ_EXAMPLES=2000 pytest tests/graphql/test_fuzz.py -s`` generates more, different ones each time, and prints
how many of each outcome there were.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import graphql
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis_graphql import mutations, queries

from tests.cli.conftest import TOKEN, Mlp, Running
from tests.graphql.generated import Generator
from tests.shared_database import shared_database

SDL = (Path(__file__).parents[2] / "schema.graphql").read_text()
SCHEMA = graphql.build_schema(SDL)
EXAMPLES = int(os.environ.get("MLP_FUZZ_EXAMPLES", "300"))
"""In total: documents with literals, queries and mutations, and calls with variables."""

PATIENCE_SECONDS = 60
WORK = (
    'echo "a,b" > $MLP_OUTPUT_DIR/x.csv; echo \'{"name": "loss", "value": 0.5, "step": 1}\' >> $MLP_METRICS'
)
ALL_IDS = """{
  pipelines { nodes { id stages { id } } } runs { nodes { id stageRuns { id } } } artifacts { nodes { id } }
  datasets { nodes { id } } models { nodes { id } } schedules { nodes { id } }
  systemStatus { workers { worker { id } } }
}"""

ACTIVE_RUNS = "{ runs(filter: {status: [PENDING, RUNNING]}) { nodes { id } } }"


@dataclass
class Target:
    """A server that must give a valid response to every operation."""

    address: str
    running: Running
    ids: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0

    def ask(self, query: str, variables: object = None) -> Any:
        """The response, which must be strict JSON without an internal error."""
        body = json.dumps({"query": query, "variables": variables})
        headers = {
            "content-type": "application/json",
            "accept": "application/graphql-response+json",
            "authorization": f"Bearer {TOKEN}",
        }
        started = time.monotonic()
        with contextlib.closing(http.client.HTTPConnection(self.address, timeout=PATIENCE_SECONDS)) as client:
            client.request("POST", "/graphql", body, headers)
            response = client.getresponse()
            data = response.read()
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - started)
        answer = json.loads(data.decode("utf-8"), parse_constant=no_constant)
        self._judge(response.status, answer, f"{query}\n{variables}\n{answer}")
        return answer

    def data(self, query: str, **variables: Any) -> Any:
        answer = self.ask(query, variables)
        assert "errors" not in answer, answer
        return answer["data"]

    def _judge(self, status: int, answer: Any, story: str) -> None:
        assert status in (200, 400), f"{status}: {story}"
        codes = [error.get("extensions", {}).get("code", "no code") for error in answer.get("errors", ())]
        assert not {"INTERNAL", "UNAVAILABLE", "TIMEOUT"} & set(codes), story
        self.outcomes["refused" if "data" not in answer else "partial" if codes else "answered"] += 1
        self.outcomes.update(codes)


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@pytest.fixture(scope="module")
async def database(postgres_url: str, migrated_template: str) -> AsyncIterator[str]:
    async with shared_database(postgres_url, migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
def target(database: str) -> Iterator[Target]:
    with tempfile.TemporaryDirectory(prefix="mlp-fuzz-") as home:
        mlp = Mlp(Path(home))
        running = mlp.start("serve", "--port", 0, DATABASE_URL=database, MLP_GRACE_SECONDS="0.5")
        try:
            url = running.line_with("is ready: ").split("ready: ")[1].strip()
            target = Target(url.split("/")[2], running)
            fill(target)
            yield target
            until(lambda: not cancelled(target))
            running.signal(signal.SIGTERM)
            assert running.end() == 0
            assert "Traceback" not in running.errors
            assert "internal error" not in running.errors
        finally:
            running.kill()
    print_figures(target)


def print_figures(target: Target) -> None:
    if "MLP_FUZZ_EXAMPLES" in os.environ:
        os.write(1, f"\n{dict(target.outcomes)}, slowest {target.slowest_seconds:.2f} s\n".encode())


def fill(target: Target) -> None:
    """Completed, failed and active runs, with everything that stages make; a schedule and a webhook."""
    good = create(target, "good", {"make": WORK, "use": "cp -r $MLP_INPUTS/make $MLP_OUTPUT_DIR/models.pt"})
    bad = create(target, "bad", {"fail": "echo no >&2; exit 3", "never": "true"})
    endless = create(target, "endless", {"sleep": "sleep 600"})
    runs = [start(target, pipeline) for pipeline in (good, good, bad)]
    start(target, endless)
    until(lambda: all(status_of(target, run) in ("COMPLETED", "FAILED") for run in runs))
    target.data(
        'mutation ($p: ID!) { createSchedule(input: {pipelineId: $p, name: "s", cron: "0 0 1 1 *"}) { errors { code } }'
        ' createWebhook(input: {pipelineId: $p, name: "w"}) { errors { code } } }',
        p=good,
    )
    target.ids += ids_in(target.data(ALL_IDS))
    assert len(target.ids) > 20


def cancelled(target: Target) -> list[Any]:
    """Cancels the active runs, whose processes would outlive the server, and returns them."""
    active: list[Any] = target.data(ACTIVE_RUNS)["runs"]["nodes"]
    for run in active:
        target.data(
            "mutation ($id: ID!) { cancelRun(input: {runId: $id}) { errors { code } } }", id=run["id"]
        )
    return active


def create(target: Target, name: str, commands: dict[str, str]) -> str:
    names = list(commands)
    stages = [
        {
            "name": stage,
            "stageType": "CLEANUP",
            "dependencies": names[:place][-1:],
            "config": {"command": commands[stage]},
        }
        for place, stage in enumerate(names)
    ]
    mutation = "mutation ($i: CreatePipelineInput!) { createPipeline(input: $i) { pipeline { id } } }"
    return str(target.data(mutation, i={"name": name, "stages": stages})["createPipeline"]["pipeline"]["id"])


def start(target: Target, pipeline_id: str) -> str:
    mutation = "mutation ($i: StartRunInput!) { startRun(input: $i) { run { id } } }"
    return str(target.data(mutation, i={"pipelineId": pipeline_id})["startRun"]["run"]["id"])


def status_of(target: Target, run_id: str) -> str:
    return str(target.data("query ($id: ID!) { run(id: $id) { status } }", id=run_id)["run"]["status"])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ids_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in ([item] if key == "id" else ids_in(item))]
    return [found for item in value for found in ids_in(item)] if isinstance(value, list) else []


def examples(share: float) -> settings:
    """The same operations each time, so that a change fails only for its own faults."""
    return settings(
        max_examples=max(1, int(EXAMPLES * share)),
        derandomize="MLP_FUZZ_EXAMPLES" not in os.environ,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.timeout(900)
def test_no_generated_query_fails_the_server(target: Target) -> None:
    @examples(0.3)
    @given(queries(SDL, custom_scalars=Generator(SCHEMA, target.ids).literals()))
    def ask(document: str) -> None:
        target.ask(document)

    ask()


@pytest.mark.timeout(900)
def test_no_generated_mutation_fails_the_server(target: Target) -> None:
    @examples(0.3)
    @given(mutations(SDL, custom_scalars=Generator(SCHEMA, target.ids).literals()))
    def ask(document: str) -> None:
        target.ask(document)

    ask()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("operation", "share"), [("query", 0.2), ("mutation", 0.2)])
def test_no_generated_variables_fail_the_server(target: Target, operation: str, share: float) -> None:
    root = SCHEMA.query_type if operation == "query" else SCHEMA.mutation_type
    assert root is not None

    @examples(share)
    @given(Generator(SCHEMA, target.ids).with_variables(root, operation))
    def ask(call: tuple[str, dict[str, Any]]) -> None:
        target.ask(*call)

    ask()
