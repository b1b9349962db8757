"""The files of the embedded PostgreSQL: data, access rules, settings, and the folder of its socket."""

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
# initdb itself tests how much shared memory the machine provides (up to shared_buffers = 128MB).
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
    # Statements and key values may be secrets: keep them out of the log.
    "log_min_messages": "error",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    # Parallel queries need more shared memory than a container's /dev/shm has, and ours are short.
    "max_parallel_workers_per_gather": "0",
}


class PostgresData:
    """The folder ``<MLP_HOME>/postgres`` and its contents."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.folder = home / "postgres"
        self.data = self.folder / "data"
        self.log = self.folder / "postgres.log"

    def make_folders(self, account: Account) -> None:
        """Create missing folders. If the server runs under another account, let its group pass through them."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        _check_owner(self.folder, os.geteuid(), os.getegid())
        if account.foreign:
            _let_group_pass(self._home, account.gid)
            _let_group_pass(self.folder, account.gid)
            check_reachable_folder(self.folder, account)

    def make_data(self, initdb: Path, account: Account) -> None:
        """Check the data folder, or create it under a temporary name, so that an interruption leaves no partial one."""
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
            _change_owner(unfinished, account)
        unfinished.rename(self.data)

    def write_access_rules(self, account: Account) -> None:
        """Only the account that owns the server may connect, and root, which can switch to that account anyway."""
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
        """Create the folder of the socket: below MLP_HOME, unless that path is too long for a socket address."""
        folder = self.folder / "socket"
        if len(os.fsencode(folder / f".s.PGSQL.{PORT}")) > _SOCKET_PATH_LIMIT_BYTES:
            digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()
            folder = Path(tempfile.gettempdir(), f"mlp-{account.uid}-{digest[:16]}")
        _make_private_folder(folder, account)
        return folder

    def server_arguments(self, socket_folder: Path) -> list[str]:
        """The arguments of the server's command line."""
        quoted_folder = str(socket_folder).replace('"', '""')
        settings = _SERVER_SETTINGS | {
            "unix_socket_directories": f'"{quoted_folder}"',
            "hba_file": str(self.folder / "pg_hba.conf"),
            "ident_file": str(self.folder / "pg_ident.conf"),
        }
        return ["-D", str(self.data), *(f"--{name}={value}" for name, value in settings.items())]

    def rotate_log(self) -> None:
        """Rename a large log. PostgreSQL's own logging collector would leave a zombie process."""
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))

    def last_error(self) -> str:
        """The reason why the server ended: the last error line of its log."""
        return _last_error(self.log.read_text(errors="replace"))

    def _check_version(self) -> None:
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != str(POSTGRES_MAJOR):
            raise EmbeddedPostgresError(
                f"the database in {self.data} was made by PostgreSQL {version} and this release brings "
                f"PostgreSQL {POSTGRES_MAJOR}: convert it by pg_upgrade, or set MLP_HOME to another folder"
            )


def _last_error(text: str) -> str:
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
        raise EmbeddedPostgresError(f"no database can be made in {data.parent}: {_last_error(result.stderr)}")


def _check_owner(path: Path, uid: int, gid: int) -> None:
    owner = path.stat().st_uid
    if owner != uid:
        raise EmbeddedPostgresError(
            f"{path} belongs to user {account_name(owner) or owner}: run mlp as its owner, set MLP_HOME to "
            f"another folder, or give it away (chown -R {uid}:{gid})"
        )


def _let_group_pass(folder: Path, gid: int) -> None:
    """Let the group pass through a private folder, without reading it. Folders with other modes are left unchanged."""
    if stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0:
        os.chown(folder, -1, gid)
        folder.chmod(0o710)


def _make_private_folder(folder: Path, account: Account) -> None:
    """Create the folder for the account, or check its owner: in a public parent, another user could have created it."""
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


def _change_owner(folder: Path, account: Account) -> None:
    """Make the account the owner of the folder and everything in it."""
    for parent, _, files in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in files)):  # noqa: PTH118
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
