"""A client that repeats each request, alternating between the servers, until it has an answer."""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import anyio

from app.graphql.shared.ids import required_key

ANSWER_SECONDS = 3.0
PAUSE_SECONDS = 0.4

CREATE = """mutation Create($input: CreatePipelineInput!) {
  answer: createPipeline(input: $input) { pipeline { id } errors { code message } } }"""
START = """mutation Start($input: StartRunInput!) {
  answer: startRun(input: $input) { run { id } errors { code message } } }"""
CANCEL = """mutation Cancel($input: CancelRunInput!) {
  answer: cancelRun(input: $input) { run { id } errors { code message } } }"""


@dataclass
class Promises:
    """What servers have acknowledged, which must hold from then on. ``broken`` describes what did not."""

    runs: dict[str, uuid.UUID] = field(default_factory=dict)
    """By idempotency key."""
    cancelled: set[uuid.UUID] = field(default_factory=set)
    too_late: set[uuid.UUID] = field(default_factory=set)
    unanswered: int = 0
    broken: list[str] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    """Why requests were repeated: error codes and exceptions."""


class Client:
    """Sends requests to all servers in turn and records what they acknowledge."""

    def __init__(self, session: aiohttp.ClientSession, urls: Sequence[str]) -> None:
        self._session = session
        self._urls = itertools.cycle(urls)
        self.promises = Promises()

    async def create_pipeline(self, draft: Mapping[str, Any]) -> str:
        pipeline_id: str = (await self._ask(CREATE, draft))["pipeline"]["id"]
        return pipeline_id

    async def start_run(self, pipeline_id: str, key: str) -> str:
        """Start a run; returns its id, which depends on the idempotency key only."""
        answer = await self._ask(START, {"pipelineId": pipeline_id, "idempotencyKey": key})
        run_id: str = answer["run"]["id"]
        row_id = required_key(run_id, "Run")
        if self.promises.runs.setdefault(key, row_id) != row_id:
            self.promises.broken.append(f"key {key} means {self.promises.runs[key]} and {row_id}")
        return run_id

    async def cancel_run(self, run_id: str) -> None:
        answer = await self._ask(CANCEL, {"runId": run_id, "reason": "chaos"}, ("NOT_CANCELLABLE",))
        found = self.promises.too_late if answer["errors"] else self.promises.cancelled
        found.add(required_key(run_id, "Run"))

    async def _ask(
        self, document: str, values: Mapping[str, Any], expected: Sequence[str] = ()
    ) -> dict[str, Any]:
        """The payload of a mutation that was executed, or refused with an expected code."""
        body = {"query": document, "variables": {"input": values}}
        self.promises.unanswered += 1
        while True:
            answer = await self._post(body)
            codes = [error["code"] for error in answer["errors"]] if answer else []
            if answer is not None and all(code in expected for code in codes):
                self.promises.unanswered -= 1
                return answer
            self.promises.failures.update(codes)
            assert "UNAVAILABLE" in codes or not codes, f"{values} was refused: {answer}"
            await anyio.sleep(PAUSE_SECONDS)

    async def _post(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            async with self._session.post(f"{next(self._urls)}/graphql", json=body) as response:
                content = await response.json()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.promises.failures[type(error).__name__] += 1
            return None
        codes = [error["extensions"]["code"] for error in content.get("errors", [])]
        assert set(codes) <= {"UNAVAILABLE"}, f"{body} failed: {content}"
        if codes:
            self.promises.failures.update(codes)
            return None
        answer: dict[str, Any] = content["data"]["answer"]
        return answer


def session() -> aiohttp.ClientSession:
    """A session whose requests do not wait for a frozen server."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS))
