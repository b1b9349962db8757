from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from graphql import (
    DocumentNode,
    OperationDefinitionNode,
    build_schema,
    parse,
    validate,
    value_from_ast_untyped,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import app
from app.domain.input.pipelines import parse_pipeline
from app.graphql.schema import printed_schema
from app.web.ui import STATIC_FOLDER, graphiql_response, static_routes

TABS = Path(app.__file__).parent / "ui" / "src" / "tabs"
ABSOLUTE_REFERENCE = re.compile(r"""(?:src|href)=["'](?:https?:)?//""")


@pytest.fixture
def built_page(tmp_path: Path) -> Path:
    """A static folder as the build makes it, with one asset."""
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "graphiql.html").write_text("<title>the built page</title>")
    (folder / "assets" / "graphiql-1a2b.js").write_text("export {}")
    return folder


async def test_a_browser_gets_the_built_page_and_revalidates_it_each_time(built_page: Path) -> None:
    async with client_of(built_page) as client, client.get("/graphql") as response:
        assert response.status == 200
        assert response.content_type == "text/html"
        assert response.headers["Cache-Control"] == "no-cache"
        assert "the built page" in await response.text()


async def test_the_page_can_neither_run_foreign_scripts_nor_be_framed(built_page: Path) -> None:
    async with client_of(built_page) as client, client.get("/graphql") as response:
        policy = directives(response.headers["Content-Security-Policy"])
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
    assert policy["script-src"] == policy["connect-src"] == policy["worker-src"] == ["'self'"]
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == ["'none'"]
    assert not [source for sources in policy.values() for source in sources if "." in source or "*" in source]


async def test_without_a_built_page_a_browser_is_told_how_to_build_it(tmp_path: Path) -> None:
    async with client_of(tmp_path / "never-built") as client:
        async with client.get("/graphql") as response:
            text = await response.text()
            assert response.status == 200
            assert "Content-Security-Policy" in response.headers
        async with client.get("/assets/graphiql-1a2b.js") as response:
            assert response.status == 404
    assert "uv sync --reinstall-package ml-pipeline-thing" in text
    assert not ABSOLUTE_REFERENCE.search(text)


async def test_a_page_built_while_the_server_runs_is_served(built_page: Path) -> None:
    hidden = built_page.rename(built_page.with_name("not-yet"))
    async with client_of(built_page) as client:
        async with client.get("/assets/graphiql-1a2b.js") as response:
            assert response.status == 404
        hidden.rename(built_page)
        async with client.get("/assets/graphiql-1a2b.js") as response:
            assert response.status == 200
        async with client.get("/graphql") as response:
            assert "the built page" in await response.text()


async def test_assets_are_cached_permanently_and_nothing_else_is_served(built_page: Path) -> None:
    (built_page / "secret.txt").write_text("not an asset")
    async with client_of(built_page) as client:
        async with client.get("/assets/graphiql-1a2b.js") as response:
            assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "javascript" in response.content_type
        for path in (
            "/assets/missing.js",
            "/assets/%2e%2e/secret.txt",
            "/assets/..%2fsecret.txt",
            "/assets/",
        ):
            async with client.get(path) as response:
                assert response.status == 404, path
                assert "immutable" not in response.headers.get("Cache-Control", "")


async def test_the_root_redirects_to_the_page_even_behind_a_path_prefix(built_page: Path) -> None:
    async with client_of(built_page) as client, client.get("/", allow_redirects=False) as response:
        assert response.status == 307
        assert response.headers["Location"] == "graphql"


@pytest.mark.skipif(not (STATIC_FOLDER / "graphiql.html").exists(), reason="installed without the page")
def test_the_page_of_this_installation_refers_only_to_files_it_has() -> None:
    page = (STATIC_FOLDER / "graphiql.html").read_text()
    references = re.findall(r'(?:src|href)="(\./[^"]+)"', page)
    assert len(references) >= 2
    assert [name for name in references if not (STATIC_FOLDER / name).is_file()] == []
    assert not ABSOLUTE_REFERENCE.search(page)


@pytest.mark.parametrize("tab", sorted(TABS.glob("*.graphql")), ids=lambda tab: tab.stem)
def test_every_first_tab_is_a_valid_operation(tab: Path) -> None:
    schema = build_schema(printed_schema())
    assert [error.message for error in validate(schema, parse(tab.read_text()))] == []


def test_the_pipeline_of_the_first_tabs_really_finds_the_line(tmp_path: Path) -> None:
    pipeline = parse_pipeline(first_argument(parse((TABS / "createPipeline.graphql").read_text())))
    for stage in pipeline.stages:
        outputs = tmp_path / "inputs" / stage.name
        outputs.mkdir(parents=True)
        (tmp_path / "params.json").write_text(json.dumps(stage.config.params))
        subprocess.run(
            [sys.executable, *stage.config.command[1:]],
            env={
                "MLP_PARAMS": str(tmp_path / "params.json"),
                "MLP_INPUTS": str(tmp_path / "inputs"),
                "MLP_OUTPUT_DIR": str(outputs),
                "MLP_METRICS": str(tmp_path / "metrics.jsonl"),
            },
            check=True,
            timeout=60,
        )
    line = json.loads((tmp_path / "inputs" / "fit" / "models" / "line.json").read_text())
    assert line == {"a": pytest.approx(3, abs=0.1), "b": pytest.approx(1, abs=0.1)}


def first_argument(document: DocumentNode) -> Any:
    (operation,) = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    (field,) = operation.selection_set.selections
    return value_from_ast_untyped(field.arguments[0].value)  # type: ignore[attr-defined]


def directives(policy: str) -> Mapping[str, list[str]]:
    return {name: sources for name, *sources in (directive.split() for directive in policy.split(";"))}


@asynccontextmanager
async def client_of(static_folder: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a real server on a free port of 127.0.0.1 that serves only the page."""

    def page(request: Request) -> Response:
        return graphiql_response(request, static_folder=static_folder)

    application = Starlette(routes=[Route("/graphql", page), *static_routes(static_folder=static_folder)])
    server = uvicorn.Server(uvicorn.Config(application, log_config=None, lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
                yield client
        finally:
            server.should_exit = True
            await serving
