"""Log lines as they are written, and the ids they carry."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.vocabulary import RunStatus
from app.graphql.shared.ids import global_id
from app.telemetry import bind_log_ids, configure_logging, log_context
from tests.execution.conftest import Engine, idle, python, stage, worker_home
from tests.factories import Factory
from tests.graphql.conftest import Graph, contexts, graph, make, schema

__all__ = ["contexts", "graph", "idle", "make", "schema", "worker_home"]

SECRET = 'pa"ss/wörd'
Start = Callable[..., io.StringIO]


@pytest.fixture
def start() -> Iterator[Start]:
    """Configures logging into a text, and restores the loggers afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def start(**options: Any) -> io.StringIO:
        stream = io.StringIO()
        configure_logging(stream=stream, secrets=[SECRET], **options)
        return stream

    # basicConfig closes the handlers it replaces, and pytest's own are among them.
    root.handlers = []
    yield start
    logging.captureWarnings(False)
    root.handlers, root.level = handlers, level


def test_json_lines_hold_the_record_with_the_ids_of_its_context(start: Start) -> None:
    stream = start(form="json")
    with log_context(run_id="r1"), log_context(stage_run_id="s1", attempt=2):
        logging.getLogger("app.x").info("started %s", "train", extra={"exit_code": 0})
    logging.getLogger("app.x").info("outside")
    inside, outside = map(json.loads, stream.getvalue().splitlines())
    assert inside.pop("timestamp").endswith("Z")
    assert inside == {
        "level": "INFO",
        "logger": "app.x",
        "message": "started train",
        "run_id": "r1",
        "stage_run_id": "s1",
        "attempt": 2,
        "exit_code": 0,
    }
    assert "run_id" not in outside


def test_console_lines_name_the_ids_after_the_message(start: Start) -> None:
    stream = start(form="console")
    with log_context(run_id="r1"):
        logging.getLogger("app.x").warning("slow")
    assert stream.getvalue().endswith(" WARNING app.x: slow run_id=r1\n")


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_secret_is_in_no_part_of_a_line(start: Start, form: str) -> None:
    stream = start(form=form)
    try:
        raise ValueError(f"postgresql://user:{SECRET}@host")
    except ValueError:
        logging.getLogger("app.x").exception("with %s", SECRET, extra={"password": SECRET})
    logging.getLogger("app.x").error("in a URL: pa%22ss%2Fw%C3%B6rd")
    text = stream.getvalue()
    assert "ss/w" not in text
    assert "pa%22" not in text
    assert "pa\\" not in text
    assert text.count("***") == 4
    assert "ValueError" in text


def test_uvicorn_logs_by_our_handler_and_without_query_strings(start: Start) -> None:
    stream = start()
    access, error = logging.getLogger("uvicorn.access"), logging.getLogger("uvicorn.error")
    access.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:5", "GET", "/graphql?query={a}", "1.1", 200)
    error.info('%s - "WebSocket %s" [accepted]', "127.0.0.1:5", "/graphql?token=x")
    first, second = stream.getvalue().splitlines()
    assert first.endswith('uvicorn.access: 127.0.0.1:5 - "GET /graphql HTTP/1.1" 200')
    assert second.endswith('"WebSocket /graphql" [accepted]')


def test_the_level_applies_and_warnings_are_logged(start: Start) -> None:
    stream = start(level="WARNING")
    logging.getLogger("app.x").info("not this")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("look out", stacklevel=1)
    assert "not this" not in stream.getvalue()
    assert "look out" in stream.getvalue()


def test_a_record_carries_the_ids_of_the_contexts_its_exception_has_left(start: Start) -> None:
    stream = start(form="json")
    try:
        with log_context(run_id="r1"), log_context(run_id="r2", attempt=1):
            raise ValueError
    except ValueError:
        logging.getLogger("app.x").exception("failed")
    line = json.loads(stream.getvalue())
    assert (line["run_id"], line["attempt"]) == ("r2", 1)


async def test_bound_ids_reach_the_tasks_of_a_task_and_no_other_task(start: Start) -> None:
    stream = start(form="json")

    async def work(run_id: str) -> None:
        bind_log_ids(run_id=run_id)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(say, run_id)

    async def say(run_id: str) -> None:
        logging.getLogger("app.x").info(run_id)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, "r1")
        tasks.start_soon(work, "r2")
    logging.getLogger("app.x").info("outside")
    lines = map(json.loads, stream.getvalue().splitlines())
    assert {line["message"]: line.get("run_id") for line in lines} == {
        "r1": "r1",
        "r2": "r2",
        "outside": None,
    }


async def lines_with(stream: io.StringIO, text: str, number: int) -> list[dict[str, Any]]:
    """The first ``number`` lines whose message contains the text, as soon as there are that many."""
    with anyio.fail_after(30):
        while True:
            lines = map(json.loads, stream.getvalue().splitlines())
            found = [line for line in lines if text in line["message"]]
            if len(found) >= number:
                return found[:number]
            await anyio.sleep(0.02)


async def test_the_log_lines_of_a_run_carry_its_ids(idle: Engine, start: Start) -> None:
    stream = start(form="json")
    store, away = idle.home.artifacts, idle.home.artifacts.with_name("elsewhere")
    store.rename(away)
    store.touch()
    writes = stage(
        "writes", python("import os; open(os.environ['MLP_OUTPUT_DIR'] + '/a.bin', 'w').write('a')")
    )
    async with idle.supervised():
        run_ids = [await idle.start(writes), await idle.start(writes)]
        waiting = await lines_with(stream, "waits for the store", 2)
    async with idle.supervised():
        adopted = await lines_with(stream, "adopted attempt", 2)
        store.unlink()
        away.rename(store)
        for run_id in run_ids:
            await idle.finished(run_id)
    expected = {(str(run_id), str((await idle.stages(run_id))["writes"].id), 1) for run_id in run_ids}
    for lines in (waiting, adopted):
        assert {(line["run_id"], line["stage_run_id"], line["attempt"]) for line in lines} == expected


BROKEN_RUNS = (
    "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken'; END $$",
    "CREATE TRIGGER broken BEFORE UPDATE ON pipeline_runs FOR EACH ROW EXECUTE FUNCTION broken()",
)


async def test_an_unexpected_failure_of_a_mutation_is_logged_with_its_run(
    graph: Graph, make: Factory, engine: AsyncEngine, start: Start
) -> None:
    run_id = await make.run(await make.pipeline(), RunStatus.RUNNING)
    async with engine.begin() as connection:
        for statement in BROKEN_RUNS:
            await connection.execute(sa.text(statement))
    stream = start(form="json")
    await graph.refusal(
        "mutation ($id: ID!) { cancelRun(input: {runId: $id}) { run { id } } }", id=global_id("Run", run_id)
    )
    [line] = await lines_with(stream, "internal error", 1)
    assert line["run_id"] == str(run_id)
