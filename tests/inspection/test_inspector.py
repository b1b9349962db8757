"""The child process: one for many files, bounded, and never an exception for the sake of a file."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.inspection.facts import Inspection
from app.inspection.inspector import InspectionLimits, inspect_files


def write(path: Path, content: str | bytes) -> tuple[Path, str]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path, path.name


def inspectors() -> list[Path]:
    """The processes that this one started to inspect files."""
    tasks = Path("/proc/self/task").iterdir()
    children = [Path("/proc") / pid for task in tasks for pid in (task / "children").read_text().split()]
    return [child for child in children if b"app.inspection" in command_line(child)]


def command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


async def until(condition: Callable[[], object]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("the condition did not come true within 10 seconds")


async def test_a_file_is_inspected(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "blob", "a,b\n1,x\n")
    [found] = await inspect_files([(path, "datasets/train.csv")])
    assert found == Inspection(
        format="csv",
        row_count=1,
        column_count=2,
        schema=[
            {"name": "a", "type": "integer", "nullable": False},
            {"name": "b", "type": "string", "nullable": False},
        ],
        details={"delimiter": ",", "header": True, "encoding": "utf-8"},
    )


async def test_nothing_to_inspect_starts_nothing() -> None:
    assert await inspect_files([]) == []


async def test_many_files_keep_their_order_whatever_is_among_them(tmp_path: Path) -> None:
    files = [
        write(tmp_path / "good.csv", "a\n1\n2\n"),
        (tmp_path / "absent.csv", "absent.csv"),
        write(tmp_path / "garbage.csv", bytes(range(256))),
        write(tmp_path / "deep.json", "[" * 200_000 + "]" * 200_000),
        (tmp_path, "folder.csv"),
        write(tmp_path / "good.jsonl", '{"a": 1}\n'),
    ]
    found = await inspect_files(files)
    assert [inspection.row_count for inspection in found] == [2, None, None, None, None, 1]
    assert [bool(inspection.error) for inspection in found] == [False, True, True, True, True, False]
    assert "FileNotFoundError" in str(found[1].error)
    assert found[2].error == "it is not text"
    assert found[3].error == "it is nested too deeply"


async def test_two_hundred_small_files_need_one_child(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{number}.csv", "a\n" + "1\n" * number) for number in range(200)]
    found = await inspect_files(files)
    assert [inspection.row_count for inspection in found] == list(range(200))


async def test_a_file_that_never_answers_is_given_up_and_the_next_one_is_inspected(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    files = [(tmp_path / "pipe.csv", "pipe.csv"), write(tmp_path / "good.csv", "a\n1\n")]
    found = await inspect_files(files, InspectionLimits(file_seconds=1.0))
    assert found[0].error == "its inspection took too long"
    assert found[1].row_count == 1
    assert inspectors() == []


async def test_the_time_for_all_files_is_bounded(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    files = [(tmp_path / "pipe.csv", "pipe.csv"), write(tmp_path / "good.csv", "a\n1\n")]
    found = await inspect_files(files, InspectionLimits(file_seconds=60.0, total_seconds=0.5))
    assert found[0].error == "its inspection took too long"
    assert found[1].error == "not inspected: the files before it took 0.5 s"


async def test_a_cancelled_inspection_leaves_no_child(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    task = asyncio.create_task(inspect_files([(tmp_path / "pipe.csv", "pipe.csv")]))
    await until(inspectors)
    task.cancel()
    await until(lambda: task.cancelled() and not inspectors())


async def test_what_a_hostile_file_says_can_be_stored(tmp_path: Path) -> None:
    path, name = write(
        tmp_path / "a.jsonl", '{"nul\\u0000": 1, "half\\ud800": 2, "long' + "x" * 9999 + '": 3}\n'
    )
    [found] = await inspect_files([(path, name)])
    assert found.schema is not None
    names = [column["name"] for column in found.schema]
    assert names[:2] == ["nul\ufffd", "half\ufffd"]
    assert len(names[2]) < 250


def run_child(*arguments: str, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


async def test_memory_is_bounded(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "line.jsonl", '{"a": "' + "x" * 60_000_000 + '"}\n')
    code = "import app.inspection.__main__ as child\nchild.MEMORY_LIMIT_BYTES = 100 << 20\nchild.main()\n"
    child = await asyncio.to_thread(run_child, str(path), code=code)
    assert json.loads(child.stdout)["error"].startswith("it needs more than")


async def test_cpu_time_is_bounded(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "data.csv", "a,b\n" + "1,2\n" * 8_000_000)
    code = "import app.inspection.__main__ as child\nchild.CPU_SECONDS_PER_FILE = 1\nchild.main()\n"
    child = await asyncio.to_thread(run_child, str(path), code=code)
    assert child.returncode == -24
    assert child.stdout == ""


async def test_the_module_is_a_command(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "data.csv", "a\n1\n")
    code = "import runpy, sys; runpy.run_module('app.inspection', run_name='__main__', alter_sys=True)"
    child = await asyncio.to_thread(run_child, str(path), code=code)
    assert json.loads(child.stdout)["row_count"] == 1


async def test_the_child_does_not_see_the_environment_of_the_server(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    task = asyncio.create_task(inspect_files([(tmp_path / "pipe.csv", "pipe.csv")]))
    await until(inspectors)
    environments = [(process / "environ").read_bytes() for process in inspectors()]
    task.cancel()
    await until(lambda: not inspectors())
    assert environments == [b""]
