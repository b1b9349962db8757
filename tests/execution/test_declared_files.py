"""Which files belong to the key of a stage, and what happens when they can't be read."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

from app.domain.cache_policy import CachePolicy
from app.domain.specs import StageConfig
from app.execution import declared_files
from app.execution.declared_files import FilesUnreadable, digests_of_declared


def spec(
    folder: Path | None, files: list[str] | None = None, command: tuple[str, ...] = ("true",)
) -> StageConfig:
    policy = CachePolicy(files=None if files is None else tuple(files))
    return StageConfig(command, workdir=folder and str(folder), cache=policy)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def names(folder: Path | None, *files: str) -> list[str]:
    return list(digests_of_declared(spec(folder, list(files))))


def named(folder: Path | None, *command: str) -> list[str]:
    return list(digests_of_declared(spec(folder, None, command)))


def test_a_digest_is_the_one_of_the_content(tmp_path: Path) -> None:
    write(tmp_path, "a.py")
    assert digests_of_declared(spec(tmp_path, ["a.py"])) == {"a.py": hashlib.sha256(b"a.py").hexdigest()}


def test_patterns_match_as_in_a_shell(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "b.txt", "src/c.py", "src/deep/d.py", ".hidden.py", "src/.git/e.py")
    assert names(tmp_path, "*.py") == ["a.py"]
    assert names(tmp_path, "src/**/*.py") == ["src/c.py", "src/deep/d.py"]
    assert names(tmp_path, "**") == ["a.py", "b.txt", "src/c.py", "src/deep/d.py"]
    assert names(tmp_path, ".hidden.py", "./a.py", "a.py") == [".hidden.py", "a.py"]
    assert names(tmp_path) == []


def test_what_python_compiles_beside_its_sources_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, "src/a.py", "src/__pycache__/a.pyc")
    assert names(tmp_path, "src/**/*") == ["src/a.py"]


@pytest.mark.parametrize("pattern", ["trian.py", "src/*.py", "src", "pipe"])
def test_a_pattern_without_any_file_is_named(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "src").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FilesUnreadable, match=f"{re.escape(repr(pattern))} matches no file in {tmp_path}"):
        names(tmp_path, pattern)


def test_a_folder_that_does_not_exist_has_no_files(tmp_path: Path) -> None:
    with pytest.raises(FilesUnreadable, match="matches no file"):
        names(tmp_path / "nowhere", "*.py")


def test_more_files_than_anybody_declares_on_purpose_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(declared_files, "FILES_LIMIT", 2)
    write(tmp_path, "1", "2", "3")
    assert names(tmp_path, "1", "2") == ["1", "2"]
    with pytest.raises(FilesUnreadable, match="more than 2 files"):
        names(tmp_path, "*")


def test_a_name_that_is_no_text_can_be_stored(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.py"))).write_text("x")
    assert names(tmp_path, "*.py") == ["\\xff.py"]


def test_without_patterns_the_files_of_the_command_count(tmp_path: Path) -> None:
    write(tmp_path, "train.py", "conf/a.yaml", "other.py")
    assert named(tmp_path, "python", "train.py", "--config", "conf/a.yaml", "conf", "") == [
        "conf/a.yaml",
        "train.py",
    ]
    assert named(tmp_path, "python", "-m", "train") == []
    assert named(tmp_path, "python", "x" * 5000) == []


def test_the_files_of_a_shell_line_count(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "b.py", "with space.py")
    assert named(tmp_path, "sh", "-c", "python a.py&& python 'with space.py' <b.py;") == [
        "a.py",
        "b.py",
        "with space.py",
    ]
    assert named(tmp_path, "/bin/bash", "-c", "python a.py 'oops") == ["a.py"]


def test_without_a_working_folder_only_absolute_paths_name_files(tmp_path: Path) -> None:
    write(tmp_path, "a.py")
    assert named(None, "python", "etc/passwd", str(tmp_path / "a.py")) == [str(tmp_path / "a.py")]
