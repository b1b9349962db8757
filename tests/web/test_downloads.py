"""Downloads of artifacts: the right bytes, and nothing that a browser executes."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from live_run import LiveRun
from shared_database import shared_database
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from web_server import client_of
from yarl import URL

from app.database.engine import create_engine
from app.domain.vocabulary import ArtifactStatus
from app.storage.local import LocalStore
from app.web.downloads import Downloads
from tests.factories import Factory
from tests.stored_files import put_file

CONTENT = bytes(range(256)) * 10
Put = Callable[..., Awaitable[str]]


@pytest.fixture(scope="module")
async def database_url(postgres_url: str, migrated_template: str) -> AsyncIterator[str]:
    """One database for all tests here: each looks at the run that it made."""
    async with shared_database(postgres_url, migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
async def client(engine: AsyncEngine, store: LocalStore) -> AsyncIterator[aiohttp.ClientSession]:
    async with client_of(Starlette(routes=Downloads(engine, store).routes())) as client:
        yield client


@pytest.fixture
async def put(engine: AsyncEngine, store: LocalStore, tmp_path: Path) -> Put:
    """Stores content as an artifact and gives the path of its download."""
    run = await LiveRun.insert(engine)

    async def put(content: bytes = CONTENT, path: str = "models/model.bin", **values: Any) -> str:
        file = tmp_path / "to be stored"
        file.write_bytes(content)
        artifact_id = await run.add_artifact(await put_file(store, file), path, **values)
        return f"/artifacts/{artifact_id}/content"

    return put


async def test_a_whole_artifact_is_delivered_with_its_length_and_digest(
    client: aiohttp.ClientSession, put: Put
) -> None:
    async with client.get(await put()) as response:
        assert response.status == 200
        assert await response.read() == CONTENT
        assert response.headers["Content-Length"] == str(len(CONTENT))
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.headers["ETag"].strip('"').isalnum()
        assert response.headers["Content-Type"] == "application/octet-stream"


async def test_a_large_artifact_and_an_empty_one_are_delivered(
    client: aiohttp.ClientSession, put: Put
) -> None:
    for content in (b"x" * 5_000_000, b""):
        async with client.get(await put(content, f"{len(content)}.bin")) as response:
            assert response.status == 200
            assert await response.read() == content


async def test_a_head_request_for_an_artifact_has_no_body(client: aiohttp.ClientSession, put: Put) -> None:
    async with client.head(await put()) as response:
        assert response.status == 200
        assert response.headers["Content-Length"] == str(len(CONTENT))
        assert await response.read() == b""


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=2000-", 2000, 2560),
        ("bytes=2000-99999", 2000, 2560),
        ("bytes=-5", 2555, 2560),
        ("bytes=-99999", 0, 2560),
    ],
)
async def test_one_range_is_delivered(
    client: aiohttp.ClientSession, put: Put, asked: str, start: int, end: int
) -> None:
    async with client.get(await put(), headers={"Range": asked}) as response:
        assert response.status == 206
        assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"
        assert response.headers["Content-Length"] == str(end - start)
        assert await response.read() == CONTENT[start:end]


@pytest.mark.parametrize("asked", ["bytes=2560-", "bytes=9999-10000", "bytes=-0"])
async def test_a_range_outside_of_the_artifact_is_refused(
    client: aiohttp.ClientSession, put: Put, asked: str
) -> None:
    async with client.get(await put(), headers={"Range": asked}) as response:
        assert response.status == 416
        assert response.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


@pytest.mark.parametrize(
    "asked",
    ["bytes=0-1,5-6", "lines=0-1", "bytes=-", "bytes=5-2", "bytes=a-b", "bytes=1", f"bytes=0-{'9' * 5000}"],
)
async def test_several_ranges_and_invalid_ranges_return_the_whole_artifact(
    client: aiohttp.ClientSession, put: Put, asked: str
) -> None:
    async with client.get(await put(), headers={"Range": asked}) as response:
        assert (response.status, await response.read()) == (200, CONTENT)


async def test_a_range_of_another_version_returns_the_whole_artifact(
    client: aiohttp.ClientSession, put: Put
) -> None:
    path = await put()
    async with client.get(path) as response:
        tag = response.headers["ETag"]
    for condition, status in ((tag, 206), ('"other"', 200), (f"W/{tag}", 200)):
        async with client.get(path, headers={"Range": "bytes=0-9", "If-Range": condition}) as response:
            assert response.status == status


async def test_content_that_the_client_has_is_not_sent_again(client: aiohttp.ClientSession, put: Put) -> None:
    path = await put()
    async with client.get(path) as response:
        tag = response.headers["ETag"]
    for known, status in ((tag, 304), (f'"other", W/{tag}', 304), ("*", 304), ('"other"', 200)):
        async with client.get(path, headers={"If-None-Match": known}) as response:
            assert response.status == status


@pytest.mark.parametrize(
    ("name", "media_type", "shown"),
    [
        ("plot.png", None, True),
        ("plot.jpeg", "image/jpeg", True),
        ("notes.txt", None, True),
        ("report.json", None, True),
        ("data.csv", None, True),
        ("page.html", None, False),
        ("page.txt", "text/html", False),
        ("drawing.svg", None, False),
        ("model.pkl", None, False),
        ("paper.pdf", None, False),
        ("strange.png", "image/png\r\nX-Evil: 1", False),
        ("no extension", None, False),
    ],
)
async def test_only_harmless_types_are_shown_inline_and_all_are_sandboxed(
    client: aiohttp.ClientSession, put: Put, name: str, media_type: str | None, shown: bool
) -> None:
    async with client.get(await put(b"<script>", name, media_type=media_type)) as response:
        assert response.status == 200
        kind = response.headers["Content-Disposition"].partition(";")[0]
        assert kind == ("inline" if shown else "attachment")
        assert response.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "X-Evil" not in response.headers


@pytest.mark.parametrize(
    ("name", "plain", "true"),
    [
        ("model v2.bin", "model v2.bin", "model%20v2.bin"),
        ("Übersicht.bin", "_bersicht.bin", "%C3%9Cbersicht.bin"),
        ('a";x=\\y.bin', "a_;x=_y.bin", "a%22%3Bx%3D%5Cy.bin"),
        ("a\r\nSet-Cookie: x.bin", "a__Set-Cookie: x.bin", "a%0D%0ASet-Cookie%3A%20x.bin"),
    ],
)
async def test_any_file_name_is_encoded_in_a_valid_header(
    client: aiohttp.ClientSession, put: Put, name: str, plain: str, true: str
) -> None:
    async with client.get(await put(path="models/x.bin", file_name=name)) as response:
        disposition = response.headers["Content-Disposition"]
        assert disposition == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{true}"
        assert "Set-Cookie" not in response.headers


async def test_missing_and_unreadable_artifacts_are_not_found(
    client: aiohttp.ClientSession, put: Put, store: LocalStore
) -> None:
    pending = await put(b"1", "1.bin", status=ArtifactStatus.PENDING)
    removed = await put(b"2", "2.bin", is_active=False)
    without_bytes = await put(b"3", "3.bin")
    async with client.get(without_bytes) as response:
        await store.delete(response.headers["ETag"].strip('"'))
    unknown = f"/artifacts/{uuid.uuid4()}/content"
    for path in (pending, removed, without_bytes, unknown, "/artifacts/1/content", "/artifacts/../content"):
        async with client.get(path) as response:
            assert response.status == 404, path


async def test_a_download_of_damaged_bytes_is_never_complete(
    client: aiohttp.ClientSession, put: Put, store: LocalStore
) -> None:
    path = await put(b"x" * 3_000_000, "large.bin")
    async with client.head(path) as response:
        file = store.path(response.headers["ETag"].strip('"'))
    file.chmod(0o600)
    with file.open("r+b") as stream:
        stream.seek(2_999_999)
        stream.write(b"y")
    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.get(path) as response:
            await response.read()


@pytest.fixture
async def churn(engine: AsyncEngine, put: Put) -> str:
    """The name of a registered model with two versions; the alias champion points to the second one."""
    make, name = Factory(engine), f"churn-{uuid.uuid4()}"
    registered = await make.registered_model(name)
    for version in (1, 2):
        address = await put(b"bytes of version %d" % version, f"{version}.bin")
        model_id = await make.model(uuid.UUID(address.split("/")[2]))
        version_id = await make.model_version(registered, version, model_id)
    await make.model_alias(registered, "champion", version_id)
    return name


async def test_a_version_is_delivered_at_the_address_of_its_number_and_of_its_alias(
    client: aiohttp.ClientSession, churn: str
) -> None:
    for address, version in (("/1", 1), ("/2", 2), ("@champion", 2)):
        async with client.get(f"/models/{churn}{address}/content") as response:
            assert response.status == 200
            assert await response.read() == b"bytes of version %d" % version
            assert response.headers["X-Model-Version"] == str(version)
            etag = response.headers["ETag"]
        async with client.get(f"/models/{churn}{address}/content", headers={"Range": "bytes=-1"}) as part:
            assert (part.status, await part.read()) == (206, str(version).encode())
        async with client.get(f"/models/{churn}{address}/content", headers={"If-None-Match": etag}) as known:
            assert (known.status, known.headers["X-Model-Version"]) == (304, str(version))


async def test_an_unknown_version_or_alias_is_not_found(client: aiohttp.ClientSession, churn: str) -> None:
    for address in ("/3", "@other", "@champion%00", f"/{2**70}", "x/1", "%00/1", "@a@champion", "@%2F"):
        async with client.get(URL(f"/models/{churn}{address}/content", encoded=True)) as response:
            assert response.status == 404, address
            assert churn not in await response.text()
