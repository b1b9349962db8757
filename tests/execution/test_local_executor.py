"""What is special about the local executor: its shims, its folders, and what it knows after any process has died."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
from attempt_harness import LocalAttempts, attempts_below, eventually, living_processes

from app.domain.vocabulary import FinishReason
from app.execution.adopt import end_processes
from app.execution.executors.base import AttemptState
from app.execution.executors.local import LocalExecutor

PROJECT = Path(__file__).parents[2]
LAUNCHER = """
    import asyncio, json, sys, time
    from pathlib import Path
    from app.domain.specs import StageConfig
    from app.execution.executors.base import AttemptSpec
    from app.execution.executors.local import LocalExecutor

    root, start_signal, specs = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])

    async def main():
        executor = LocalExecutor(root)
        print("ready", flush=True)
        while not start_signal.exists():
            await asyncio.sleep(0.001)
        for attempt_id, command, options in specs:
            timeout, grace = options.get("timeout_seconds"), options.get("grace_seconds", 10)
            env = {"PATH": "/usr/bin:/bin"}
            config = StageConfig(command, env=env, workdir=str(root), timeout_seconds=timeout)
            await executor.launch(AttemptSpec(attempt_id, config, grace_seconds=grace, log_limit_bytes=1 << 20))
        print("launched", flush=True)
        await asyncio.sleep(60)

    asyncio.run(main())
"""


@pytest.fixture
async def attempts(tmp_path: Path) -> AsyncIterator[LocalAttempts]:
    async with attempts_below(tmp_path / "attempts") as attempts:
        yield attempts


def launcher_process(
    root: Path, start_signal: Path, specs: list[tuple[str, list[str], dict[str, float]]]
) -> subprocess.Popen[str]:
    """Another server process that launches the attempts once the signal file exists, then keeps running."""
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(LAUNCHER),
        str(root),
        str(start_signal),
        json.dumps(specs),
    ]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """Put a file system into the folder: something that can't be removed, not even by root."""
    command = ["mount", "-t", "tmpfs", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def running_shims(root: Path, attempt_id: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(root / attempt_id).encode() in arguments:
            found.append(int(folder.name))
    return found


def runner_of(attempts: LocalAttempts, attempt_id: str) -> int:
    """The process of the shim that supervises the stage."""
    pid: int = json.loads(attempts.path(attempt_id, "lock").read_text())["pid"]
    return pid


def kill_runner(attempts: LocalAttempts, attempt_id: str) -> None:
    os.kill(runner_of(attempts, attempt_id), signal.SIGKILL)


def kill_shim(root: Path, attempt_id: str) -> None:
    """Both halves, the guardian first: else it would clean up."""
    runner = json.loads((root / attempt_id / "lock").read_text())["pid"]
    for pid in sorted(running_shims(root, attempt_id), key=lambda pid: pid == runner):
        os.kill(pid, signal.SIGKILL)


async def test_of_many_servers_that_launch_the_same_attempt_exactly_one_starts_it(
    attempts: LocalAttempts, tmp_path: Path
) -> None:
    attempt_id = attempts.new_id()
    root, start_signal = tmp_path / "attempts", tmp_path / "go"
    starts = tmp_path / "starts"
    specs = [(attempt_id, ["sh", "-c", f"echo started >> {starts}; sleep 0.3"], {})]
    launchers = [launcher_process(root, start_signal, specs) for _ in range(8)]
    try:
        for launcher in launchers:
            assert launcher.stdout is not None
            await asyncio.to_thread(launcher.stdout.readline)
        start_signal.touch()
        for launcher in launchers:
            assert launcher.stdout is not None
            assert await asyncio.to_thread(launcher.stdout.readline) == "launched\n"
        assert (await attempts.end(attempt_id)).exit_code == 0
    finally:
        for launcher in launchers:
            kill(launcher)
    assert starts.read_text() == "started\n"


async def test_a_finished_attempt_is_not_started_again(attempts: LocalAttempts, tmp_path: Path) -> None:
    spec = await attempts.prepare("sh", "-c", f"echo started >> {tmp_path}/starts")
    await attempts.executor.launch(spec)
    first = await attempts.end(spec.attempt_id)
    assert await attempts.executor.launch(spec) is AttemptState.DONE
    assert await attempts.executor.result(spec.attempt_id) == first
    assert (tmp_path / "starts").read_text() == "started\n"
    assert not attempts.path(spec.attempt_id, "spec.json").exists()


async def test_an_attempt_whose_launcher_died_before_the_shim_started_may_be_launched(
    attempts: LocalAttempts,
) -> None:
    spec = await attempts.prepare("true")
    attempts.path(spec.attempt_id, "lock").touch()
    attempts.path(spec.attempt_id, "spec.json").write_text("half a spec")
    assert await attempts.executor.state(spec.attempt_id) is AttemptState.NEW
    assert await attempts.executor.launch(spec) is AttemptState.RUNNING
    assert (await attempts.end(spec.attempt_id)).exit_code == 0


async def test_attempts_of_a_killed_server_are_adopted_by_the_next(
    attempts: LocalAttempts, tmp_path: Path
) -> None:
    specs: dict[str, tuple[list[str], dict[str, float]]] = {
        "prints": (["bash", "-c", "for i in {1..20}; do echo line $i; sleep 0.05; done"], {}),
        "fails": (["bash", "-c", "sleep 1; exit 3"], {}),
        "crashes": (["bash", "-c", "sleep 1; kill -SEGV $$"], {}),
        "ends while there is no server": (["bash", "-c", "echo early"], {}),
        "takes too long": (["bash", "-c", "trap '' TERM; while :; do sleep 0.05; done"],
                           {"timeout_seconds": 0.8, "grace_seconds": 0.4}),
    }  # fmt: skip
    ids = {name: attempts.new_id() for name in specs}
    (tmp_path / "go").touch()
    server = launcher_process(
        tmp_path / "attempts", tmp_path / "go", [(ids[name], *spec) for name, spec in specs.items()]
    )
    assert server.stdout is not None
    assert await asyncio.to_thread(server.stdout.readline) == "ready\n"
    assert await asyncio.to_thread(server.stdout.readline) == "launched\n"
    kill(server)
    await eventually(lambda: attempts.path(ids["ends while there is no server"], "result.json").exists())

    assert await attempts.executor.state(ids["takes too long"]) is AttemptState.RUNNING
    results = dict(zip(ids, await asyncio.gather(*map(attempts.end, ids.values())), strict=True))
    assert results["prints"].exit_code == 0
    assert attempts.output(ids["prints"]) == "".join(f"line {i}\n" for i in range(1, 21)).encode()
    assert results["fails"].exit_code == 3
    assert results["crashes"].signal == signal.SIGSEGV
    assert attempts.output(ids["ends while there is no server"]) == b"early\n"
    assert results["takes too long"].finish_reason is FinishReason.TIMED_OUT
    assert 1.1 < results["takes too long"].wall_seconds < 4
    for attempt_id in ids.values():
        events = await attempts.events(attempt_id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert events[-1].kind == "finished"


HIDING = """
hide() { setsid env -i sh -c 'trap "" TERM; echo $$ >> '"$PWD"'/pids; exec sleep 100' & }
sleep 100 & (setsid sleep 100 &); (trap '' TERM; setsid sleep 100 &); hide; (hide); (hide) &
while [ "$(wc -l < pids 2> /dev/null)" != 3 ]; do sleep 0.01; done
echo ready; wait
"""
"""Processes with sessions and environments of their own that show no trace of their origin."""


async def test_a_lost_attempt_has_no_process_left_wherever_they_hid(
    attempts: LocalAttempts, tmp_path: Path
) -> None:
    attempt_id = await attempts.start("bash", "-c", HIDING)
    await attempts.says(attempt_id, "ready")
    hidden = list(map(int, attempts.path(attempt_id, "work/pids").read_text().split()))
    assert len(hidden) == 3
    assert all(map(psutil.pid_exists, hidden))
    kill_runner(attempts, attempt_id)
    assert await attempts.executor.wait(attempt_id) is AttemptState.LOST
    assert not any(map(psutil.pid_exists, hidden))
    assert living_processes(attempt_id) == []


async def test_a_supervisor_that_did_not_start_the_attempt_sees_it_lost_only_when_nothing_is_left(
    attempts: LocalAttempts, tmp_path: Path
) -> None:
    attempt_id = await attempts.start("bash", "-c", HIDING)
    await attempts.says(attempt_id, "ready")
    hidden = list(map(int, attempts.path(attempt_id, "work/pids").read_text().split()))
    script = (
        "import asyncio, pathlib, sys; from app.execution.executors.local import LocalExecutor\n"
        "print(asyncio.run(LocalExecutor(pathlib.Path(sys.argv[1])).wait(sys.argv[2])))"
    )
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path / "attempts"), attempt_id, stdout=asyncio.subprocess.PIPE
    )
    kill_runner(attempts, attempt_id)
    said, _ = await other.communicate()
    assert said == b"LOST\n"
    assert not any(map(psutil.pid_exists, hidden))


async def test_an_attempt_survives_the_death_of_its_guardian(attempts: LocalAttempts, tmp_path: Path) -> None:
    attempt_id = await attempts.start("sh", "-c", "echo ready; sleep 0.5; echo done")
    await attempts.says(attempt_id, "ready")
    [guardian] = set(running_shims(tmp_path / "attempts", attempt_id)) - {runner_of(attempts, attempt_id)}
    os.kill(guardian, signal.SIGKILL)
    assert (await attempts.end(attempt_id)).exit_code == 0
    assert attempts.output(attempt_id) == b"ready\ndone\n"


async def test_the_guardian_ignores_sigterm(attempts: LocalAttempts, tmp_path: Path) -> None:
    attempt_id = await attempts.start("sh", "-c", "echo ready; exec sleep 100")
    await attempts.says(attempt_id, "ready")
    runner = runner_of(attempts, attempt_id)
    [guardian] = set(running_shims(tmp_path / "attempts", attempt_id)) - {runner}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(guardian, number)
    os.kill(runner, signal.SIGKILL)
    assert await attempts.executor.wait(attempt_id) is AttemptState.LOST
    assert living_processes(attempt_id) == []


async def test_an_attempt_whose_whole_shim_was_killed_is_lost_and_a_sweep_leaves_nothing(
    attempts: LocalAttempts, tmp_path: Path
) -> None:
    script = "(setsid sleep 100 &); (trap '' TERM; setsid sleep 100 &); sleep 100 & echo ready; sleep 100"
    attempt_id = await attempts.start("bash", "-c", script)
    await attempts.says(attempt_id, "ready")
    kill_shim(tmp_path / "attempts", attempt_id)
    assert await attempts.executor.wait(attempt_id) is AttemptState.LOST
    assert len(living_processes(attempt_id)) >= 3
    assert await attempts.executor.sweep(attempt_id) >= 3
    assert living_processes(attempt_id) == []
    with pytest.raises(FileNotFoundError):
        await attempts.executor.result(attempt_id)


async def test_ending_an_attempt_ends_its_orphans_too_if_its_shim_is_dead(
    attempts: LocalAttempts, tmp_path: Path
) -> None:
    attempt_id = await attempts.start("bash", "-c", "(setsid sleep 100 &); echo ready; sleep 100")
    await attempts.says(attempt_id, "ready")
    kill_shim(tmp_path / "attempts", attempt_id)
    assert await attempts.executor.wait(attempt_id) is AttemptState.LOST
    assert living_processes(attempt_id) != []
    await end_processes(attempts.executor, attempt_id)
    assert living_processes(attempt_id) == []


async def test_a_lost_attempt_is_never_started_again(attempts: LocalAttempts, tmp_path: Path) -> None:
    spec = await attempts.prepare("sh", "-c", f"echo started >> {tmp_path}/starts; exec sleep 100")
    await attempts.executor.launch(spec)
    await eventually((tmp_path / "starts").exists)
    kill_runner(attempts, spec.attempt_id)
    assert await attempts.executor.wait(spec.attempt_id) is AttemptState.LOST
    assert await attempts.executor.launch(spec) is AttemptState.LOST
    assert (tmp_path / "starts").read_text() == "started\n"
    await eventually(lambda: not living_processes(spec.attempt_id))


async def test_an_attempt_that_replaced_its_lock_is_not_started_beside_itself(
    attempts: LocalAttempts, tmp_path: Path
) -> None:
    starts = tmp_path / "starts"
    command = f"echo started >> {starts}; rm ../lock; : > ../lock; echo replaced >> {starts}; exec sleep 100"
    spec = await attempts.prepare("sh", "-c", command)
    await attempts.executor.launch(spec)
    await eventually(lambda: starts.exists() and "replaced" in starts.read_text())
    assert await attempts.executor.state(spec.attempt_id) is AttemptState.LOST
    assert await attempts.executor.launch(spec) is AttemptState.LOST
    assert starts.read_text().count("started") == 1
    await attempts.executor.sweep(spec.attempt_id)


async def test_ended_shims_do_not_stay_as_zombies(attempts: LocalAttempts) -> None:
    before = set(psutil.Process().children())
    for attempt_id in [await attempts.start("true") for _ in range(3)]:
        await attempts.end(attempt_id)
    assert set(psutil.Process().children()) - before == set()


async def test_the_folder_and_its_files_are_the_owners_alone(attempts: LocalAttempts) -> None:
    attempt_id = await attempts.start("sh", "-c", "touch made-by-stage")
    await attempts.end(attempt_id)
    folder = attempts.executor.folder(attempt_id)
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        "out",
        "work",
        "home",
        "tmp",
        "inputs",
    }


async def test_a_forgotten_attempt_leaves_nothing_not_even_what_was_made_read_only(
    attempts: LocalAttempts, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o755)
    script = f"mkdir -p a/b; touch a/b/c; chmod 500 a/b a; ln -s {precious} link"
    attempt_id = await attempts.start("sh", "-c", script)
    await attempts.end(attempt_id)
    await attempts.executor.forget(attempt_id)
    assert await attempts.executor.state(attempt_id) is AttemptState.NEW
    assert not any(path.name == attempt_id for path in (tmp_path / "attempts").rglob("*"))
    assert stat.S_IMODE(precious.stat().st_mode) == 0o755
    await attempts.executor.forget(attempt_id)


async def test_an_attempt_that_was_removed_only_in_part_is_not_started_again(
    attempts: LocalAttempts,
) -> None:
    spec = await attempts.prepare("true")
    await attempts.executor.launch(spec)
    await attempts.end(spec.attempt_id)
    with mounted(attempts.path(spec.attempt_id, "out")):
        with pytest.raises(OSError, match="busy"):
            await attempts.executor.forget(spec.attempt_id)
        assert await attempts.executor.launch(spec) in {AttemptState.DONE, AttemptState.LOST}
    await attempts.executor.forget(spec.attempt_id)
    assert not attempts.executor.folder(spec.attempt_id).exists()


async def test_a_relative_root_is_that_of_the_server(
    attempts: LocalAttempts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    executor = LocalExecutor(Path("attempts"))
    spec = await attempts.prepare("true")
    assert await executor.launch(spec) is AttemptState.RUNNING
    assert (await attempts.end(spec.attempt_id)).exit_code == 0
