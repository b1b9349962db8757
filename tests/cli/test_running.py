from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from graphql import build_schema, parse, validate

from app.client import documents
from app.client.connection import connected
from app.client.errors import Refused, Unreachable
from app.client.pipeline_file import read_pipeline_file
from app.client.runs import RunRequest, cancel_run, read_run, register, start_run
from app.postgres.postmaster import find_postmaster
from tests.cli.conftest import DEADLINE_SECONDS, MLP, TOKEN, Mlp, PipelineWriter, Server

SCHEMA = Path(__file__).parents[2] / "schema.graphql"
HELLO = Path(__file__).parents[2] / "app" / "examples" / "hello" / "pipeline.yaml"
ALL_IS_WELL = ("PENDING", "RUNNING", "COMPLETED")


def test_run_follows_a_pipeline_to_its_end_on_the_running_server(server: Server) -> None:
    result = server.mlp("run", HELLO, PORT=server.url.rsplit(":", 1)[1])
    assert result.returncode == 0, result.stderr
    assert f" on {server.url}\n" in result.stdout
    lines = re.findall(r"^\d\d:\d\d:\d\d (\w+: \w+)", result.stdout, re.MULTILINE)
    assert [line for line in lines if line.startswith("hello")] == [
        f"hello: {status}" for status in ALL_IS_WELL
    ]
    assert [line for line in lines if line.startswith("greet")] == [
        f"greet: {status}" for status in ALL_IS_WELL[1:]
    ]
    assert "\x1b" not in result.stdout


SERVER_MODULES = {
    "app.main",
    "app.wiring",
    "app.graphql",
    "app.web",
    "app.execution",
    "app.services",
    "app.database",
}
SERVER_LIBRARIES = {"strawberry", "sqlalchemy", "starlette", "uvicorn", "asyncpg", "alembic"}
TELLS_ITS_MODULES = """
import atexit, sys
from app.cli import main
atexit.register(lambda: print("modules:", *sys.modules, file=sys.stderr))
main()
"""


def test_run_and_watch_load_no_server_when_one_is_running(server: Server) -> None:
    def loaded_by(*args: object) -> tuple[str, set[str]]:
        done = subprocess.run(
            [sys.executable, "-c", TELLS_ITS_MODULES, *map(str, args), "--url", server.url],
            env=server.mlp.environment({}),
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=True,
        )
        return done.stdout, set(done.stderr.split("modules:")[1].split())

    loaded_by_run = loaded_by("run", HELLO)[1]
    run_id, loaded_by_detached_run = loaded_by("run", "--detach", HELLO)
    loaded_by_watch = loaded_by("watch", run_id.strip())[1]
    for loaded in (loaded_by_run, loaded_by_detached_run, loaded_by_watch):
        assert "app.client.connection" in loaded
        assert loaded & (SERVER_MODULES | SERVER_LIBRARIES) == set()


async def test_a_pipeline_of_the_same_name_is_updated(server: Server, pipeline: PipelineWriter) -> None:
    async with connected(server.url, TOKEN) as connection:
        first = await register(connection, read_pipeline_file(pipeline("again", a="true")))
        # A pipeline whose name only contains the other name is another pipeline.
        other = await register(connection, read_pipeline_file(pipeline("once again", a="true")))
        assert await register(connection, read_pipeline_file(pipeline("again", b="true"))) == first != other


async def test_a_run_of_the_command_line_was_started_by_a_person_and_holds_what_its_stages_reported(
    server: Server, pipeline: PipelineWriter
) -> None:
    path = pipeline("manual", a=r'printf "{\042rows\042: 3}" > $MLP_RESULT')
    report = json.loads(server.mlp("run", path, "--url", server.url, "--json").stdout)
    query = parse("query($id: ID!) { run(id: $id) { triggerType outputData } }")
    async with connected(server.url, TOKEN) as connection:
        run = (await connection.execute(query, id=report["runId"]))["run"]
    assert run == {"triggerType": "MANUAL", "outputData": {"a": {"rows": 3}}}


async def test_of_several_pipelines_of_the_same_name_the_newest_is_used_and_named(
    server: Server, pipeline: PipelineWriter
) -> None:
    path = pipeline("twin", a="true")
    async with connected(server.url, TOKEN) as connection:
        inputs = [{**read_pipeline_file(path).draft, "description": text} for text in ("older", "newer")]
        older, newer = [
            (await connection.execute(documents.CREATE_PIPELINE, input=draft))["createPipeline"]["pipeline"]
            for draft in inputs
        ]
        assert await register(connection, read_pipeline_file(path)) == newer["id"] != older["id"]
    note = f"Several pipelines are named 'twin'; the newest is used: {newer['id']}\n"
    assert note in server.mlp("run", path, "--url", server.url).stdout
    detached = server.mlp("run", path, "--url", server.url, "--detach")
    assert (note in detached.stderr, len(detached.stdout.split())) == (True, 1)


def test_parameters_reach_the_stages(server: Server, pipeline: PipelineWriter) -> None:
    path = pipeline("params", a='cp "$MLP_PARAMS" "$MLP_RESULT"', b='cp "$MLP_PARAMS" "$MLP_RESULT"')
    options = ("--param", "lr=1e-2", "--param", "word=on", "--stage-param", "b.lr=2")
    result = server.mlp("run", path, "--url", server.url, "--json", *options)
    assert result.returncode == 0, result.stderr
    assert [stage["outputData"] for stage in json.loads(result.stdout)["stageRuns"]] == [
        {"lr": 0.01, "word": "on"},
        {"lr": 2, "word": "on"},
    ]


def test_a_run_and_its_follower_survive_a_crash_of_the_built_in_database(
    server: Server, pipeline: PipelineWriter, tmp_path: Path
) -> None:
    over = tmp_path / "over"
    path = pipeline("survivor", a=f"until test -e {over}; do sleep 0.1; done", b="true")
    running = server.mlp.start("run", path, "--url", server.url)
    try:
        running.line_with("a: RUNNING")
        database = find_postmaster(server.mlp.home / "postgres" / "data")
        assert database is not None
        database.process.kill()
        over.touch()
        assert running.end() == 0, running.errors
        assert "b: COMPLETED" in running.output
    finally:
        running.kill()


def test_the_result_of_an_unchanged_stage_is_reused_unless_no_cache_is_given(
    server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "cached.yaml"
    config = '{command: [sh, train.sh], cache: {files: ["*.sh"], version: 1}}'
    path.write_text(
        f"name: cached\nstages:\n  - {{name: train, stageType: MODEL_TRAINING, config: {config}}}\n"
    )
    (tmp_path / "train.sh").write_text("echo '{\"x\": 2}' > $MLP_OUTPUT_DIR/metrics.json\n")

    def run(*options: str) -> str:
        result = server.mlp("run", path, "--url", server.url, *options)
        assert result.returncode == 0, result.stderr
        return result.stdout

    assert "from the cache" not in run()
    again = run()
    assert re.search(r"^\S+ train: COMPLETED.* from the cache, x 2$", again, re.MULTILINE)
    assert re.search(r"train +\S+ COMPLETED .*from the cache, x 2", again)
    assert "from the cache" not in run("--no-cache")
    assert json.loads(run("--json"))["stageRuns"][0]["cacheHit"]


def test_a_failed_run_shows_the_log_without_control_characters(
    server: Server, pipeline: PipelineWriter
) -> None:
    path = pipeline("fails", a="printf '\\033]0;title\\007[bold]no such column\\n'; exit 3", b="true")
    result = server.mlp("run", path, "--url", server.url)
    assert result.returncode == 1
    assert "a: FAILED, " in result.stdout
    assert "b: SKIPPED" in result.stdout
    assert "The last lines of a:\n  ]0;title [bold]no such column\n" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_failed_run_shows_the_first_three_logs_that_are_not_empty(server: Server, tmp_path: Path) -> None:
    configs = {
        "silent": 'command: "exit 3"',
        "missing": "command: [/no/such/program]",
        "blank": 'command: "echo; exit 3"',
        "allowed": 'command: "echo harmless; exit 3", allowFailure: true',
        **{f"loud-{number}": f'command: "echo reason {number}; exit 3"' for number in range(5)},
    }
    stages = [f"- {{name: {name}, stageType: CLEANUP, config: {{{configs[name]}}}}}" for name in configs]
    path = tmp_path / "many.yaml"
    path.write_text("\n".join(["name: many", "config: {failFast: false}", "stages:", *stages]))
    output = server.mlp("run", path, "--url", server.url).stdout
    assert re.findall(r"^The last lines of .*|^  reason .*|^  harmless", output, re.MULTILINE) == [
        text for number in range(3) for text in (f"The last lines of loud-{number}:", f"  reason {number}")
    ]
    assert "2 more stages failed. To see their logs, run this query at " in output
    (query,) = re.findall(r"^  (\{ run\(id: .*)$", output, re.MULTILINE)
    assert validate(build_schema(SCHEMA.read_text()), parse(query)) == []


async def test_an_unknown_run_and_a_wrong_tag_are_refused(server: Server) -> None:
    async with connected(server.url, TOKEN) as connection:
        with pytest.raises(Refused, match="there is no run nonsense"):
            await read_run(connection, "nonsense")
        pipeline_id = await register(connection, read_pipeline_file(HELLO))
        with pytest.raises(Refused, match="at most 100 characters"):
            await start_run(connection, pipeline_id, RunRequest({}, tags=["x" * 101]))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1", "http://127.0.0.1:1 can't be reached"),
        (None, "requires a token: set MLP_API_TOKEN"),
    ],
)
async def test_no_answer_and_a_wrong_token_are_reported(
    server: Server, url: str | None, message: str
) -> None:
    async with connected(url or server.url, "another token") as connection:
        with pytest.raises(Unreachable, match=message):
            await read_run(connection, "any")


def test_ctrl_c_cancels_the_run_and_waits_for_its_end(server: Server, pipeline: PipelineWriter) -> None:
    running = server.mlp.start("run", pipeline("long", a="sleep 600", b="true"), "--url", server.url)
    try:
        running.line_with("a: RUNNING")
        running.signal(signal.SIGINT)
        assert running.end(within_seconds=20) == 1
        assert "Cancelling the run" in running.output
        assert "long: CANCELLED" in running.output
    finally:
        running.kill()


def test_a_second_ctrl_c_exits_at_once(server: Server, pipeline: PipelineWriter) -> None:
    path = pipeline("stubborn", a="trap '' TERM; while :; do sleep 0.1; done")
    running = server.mlp.start("run", path, "--url", server.url)
    try:
        running.line_with("a: RUNNING")
        running.signal(signal.SIGINT)
        running.line_with("Cancelling the run")
        running.signal(signal.SIGINT)
        assert running.end(within_seconds=5) == 128 + signal.SIGINT
    finally:
        running.kill()


def test_a_detached_run_can_be_watched(server: Server, pipeline: PipelineWriter) -> None:
    started = server.mlp("run", pipeline("detached", a="true"), "--url", server.url, "--detach")
    assert started.returncode == 0, started.stderr
    watched = server.mlp("watch", started.stdout.strip(), "--url", server.url)
    assert (watched.returncode, "detached: COMPLETED" in watched.stdout) == (0, True)


async def test_ctrl_c_does_not_cancel_a_watched_run(server: Server, pipeline: PipelineWriter) -> None:
    file = read_pipeline_file(pipeline("watched", a="sleep 600"))
    async with connected(server.url, TOKEN) as connection:
        run_id = await start_run(connection, await register(connection, file), RunRequest({}))
        watching = server.mlp.start("watch", run_id, "--url", server.url)
        try:
            watching.line_with("a: RUNNING")
            watching.signal(signal.SIGINT)
            assert watching.end(within_seconds=5) == 128 + signal.SIGINT
        finally:
            watching.kill()
        assert (await read_run(connection, run_id))["status"] == "RUNNING"
        await cancel_run(connection, run_id)


def test_a_terminal_gets_a_table(server: Server, pipeline: PipelineWriter) -> None:
    path = pipeline("drawn", prepare="echo reading; sleep 1", finish="true")
    master, terminal = pseudo_terminal()
    command = [MLP, "run", str(path), "--url", server.url]
    env = server.mlp.environment({"TERM": "xterm-256color"})
    with subprocess.Popen(command, env=env, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        screen = everything_from(master)
    assert process.returncode == 0
    assert "▶ RUNNING" in screen
    assert "reading" in screen
    assert screen.count("\x1b[?25l") == screen.count("\x1b[?25h") == 1, "the cursor must come back"


def test_run_starts_a_server_if_none_is_running(mlp: Mlp, database_url: str) -> None:
    result = mlp("run", HELLO, DATABASE_URL=database_url)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("No server answers at http://127.0.0.1:1; starting one for this run.\n")
    assert result.stderr == ""


def test_detach_needs_a_running_server(mlp: Mlp) -> None:
    result = mlp("run", HELLO, "--detach")
    assert (result.returncode, "start `mlp serve`" in result.stderr) == (2, True)


def pseudo_terminal() -> tuple[int, int]:
    """Both ends of a pseudo-terminal. Skips the test where there are none, as in a chroot without /dev/pts."""
    try:
        return pty.openpty()
    except OSError as error:
        pytest.skip(f"needs a pseudo-terminal: {error}")


def everything_from(master: int) -> str:
    """What is written to a terminal until its last writer has closed it."""
    screen = b""
    with os.fdopen(master, "rb", buffering=0) as reader:
        try:
            while chunk := reader.read(65536):
                screen += chunk
        except OSError:
            pass  # How Linux reports that the other end was closed.
    return screen.decode()
