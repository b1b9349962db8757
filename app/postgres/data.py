"""The files of the embedded PostgreSQL: its data, its access rules, its settings, its socket's folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from app.postgres.errors import EmbeddedPostgresError
from app.postgres.install import POSTGRES_MAJOR, Account, account_name, check_reachable_folder

PORT = 5432
SUPERUSER = "postgres"
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

# The address of a socket has room for 107 bytes on Linux and 103 on macOS.
_SOCKET_PATH_LIMIT_BYTES = 100
_LOG_LIMIT_BYTES = 10 * 2**20
# initdb itself tries out how much shared memory the machine grants (up to shared_buffers = 128MB).
_INITDB_OPTIONS = (
    f"--username={SUPERUSER}",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--auth=reject",
    "--no-instructions",
)
_SERVER_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements and key values may be secrets, so they stay out of the log.
    "log_min_messages": "error",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    # Parallel queries need more shared memory than a container's /dev/shm has, and ours are short.
    "max_parallel_workers_per_gather": "0",
}


class PostgresData:
    """The folder ``<MLP_HOME>/postgres`` and all that lies in it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.folder = home / "postgres"
        self.data = self.folder / "data"
        self.log = self.folder / "postgres.log"

    def make_folders(self, account: Account) -> None:
        """Make what is missing; for root, let PostgreSQL's group pass through the folders of ours."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        _check_owner(self.folder, os.geteuid(), os.getegid())
        if account.foreign:
            _let_group_pass(self._home, account.gid)
            _let_group_pass(self.folder, account.gid)
            check_reachable_folder(self.folder, account)

    def make_data(self, initdb: Path, account: Account) -> None:
        """Check the data, or make them: aside and renamed, so that an interruption leaves no half of them."""
        if self.data.exists():
            _check_owner(self.data, account.uid, account.gid)
            self._check_version()
            return
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if account.foreign:
            os.chown(unfinished, account.initdb_uid, account.gid)
        _run_initdb(initdb, unfinished, account)
        if account.foreign:
            _give(unfinished, account)
        unfinished.rename(self.data)

    def write_access_rules(self, account: Account) -> None:
        """Only the account which owns the server may connect, and root, who could become it anyway."""
        owners = sorted({name for uid in (os.geteuid(), 0) if (name := account_name(uid))})
        rules = {
            "pg_hba.conf": f"local all {SUPERUSER} peer map=owner\n",
            "pg_ident.conf": "".join(f'owner "{name}" {SUPERUSER}\n' for name in owners),
        }
        for name, text in rules.items():
            file = self.folder / name
            file.write_text(text)
            os.chown(file, -1, account.gid)
            file.chmod(0o640)

    def make_socket_folder(self, account: Account) -> Path:
        """The socket's folder: among the data, unless that path is too long for a socket's address."""
        folder = self.folder / "socket"
        if len(os.fsencode(folder / f".s.PGSQL.{PORT}")) > _SOCKET_PATH_LIMIT_BYTES:
            digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()
            folder = Path(tempfile.gettempdir(), f"mlp-{account.uid}-{digest[:16]}")
        _make_private_folder(folder, account)
        return folder

    def server_arguments(self, socket_folder: Path) -> list[str]:
        """The command line which the server is started with, after the program's name."""
        quoted_folder = str(socket_folder).replace('"', '""')
        settings = _SERVER_SETTINGS | {
            "unix_socket_directories": f'"{quoted_folder}"',
            "hba_file": str(self.folder / "pg_hba.conf"),
            "ident_file": str(self.folder / "pg_ident.conf"),
        }
        return ["-D", str(self.data), *(f"--{name}={value}" for name, value in settings.items())]

    def rotate_log(self) -> None:
        """Put a long log aside. Not by PostgreSQL's own collector: its process would stay behind as a zombie."""
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))

    def last_complaint(self) -> str:
        """The newest line of the log which says why the server gave up."""
        return _last_complaint(self.log.read_text(errors="replace"))

    def _check_version(self) -> None:
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != str(POSTGRES_MAJOR):
            raise EmbeddedPostgresError(
                f"the database in {self.data} was made by PostgreSQL {version} and this release brings "
                f"PostgreSQL {POSTGRES_MAJOR}: convert it by pg_upgrade, or set MLP_HOME to another folder"
            )


def _last_complaint(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        for mark in ("FATAL:", "PANIC:", "error:"):
            if mark in line:
                return line.partition(mark)[2].strip()
    return lines[-1] if lines else "it gave no reason"


def _run_initdb(initdb: Path, data: Path, account: Account) -> None:
    result = subprocess.run(
        [initdb, *_INITDB_OPTIONS, "-D", data],
        capture_output=True, text=True, check=False, cwd="/", env=ENVIRONMENT, umask=0o077,
        start_new_session=True, **account.process_arguments(initdb=True),
    )  # fmt: skip
    if result.returncode != 0:
        raise EmbeddedPostgresError(
            f"no database can be made in {data.parent}: {_last_complaint(result.stderr)}"
        )


def _check_owner(path: Path, uid: int, gid: int) -> None:
    owner = path.stat().st_uid
    if owner != uid:
        raise EmbeddedPostgresError(
            f"{path} belongs to user {account_name(owner) or owner}: run mlp as its owner, set MLP_HOME to "
            f"another folder, or give it away (chown -R {uid}:{gid})"
        )


def _let_group_pass(folder: Path, gid: int) -> None:
    """Open a private folder of ours for the group to pass through, not to read. Others are left as they are."""
    if stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0:
        os.chown(folder, -1, gid)
        folder.chmod(0o710)


def _make_private_folder(folder: Path, account: Account) -> None:
    """Make it for the account, or check that nobody else made it (its parent may be a public folder)."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or found.st_mode & 0o077:
            raise EmbeddedPostgresError(
                f"{folder} is not a private folder of user id {account.uid}: remove it"
            ) from None
        return
    if account.foreign:
        os.chown(folder, account.uid, account.gid)


def _give(folder: Path, account: Account) -> None:
    """Hand a folder and everything in it over to the account."""
    for parent, _, files in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in files)):  # noqa: PTH118
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
