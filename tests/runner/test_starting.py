"""Starting a stage: what it inherits, how it ended, and what is reported if it could not start."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from attempt_harness import LocalAttempts

from app.domain.vocabulary import FinishReason
from app.execution.environment import file_variables, host_variables
from app.execution.executors.shims import SHIM

SURROUNDINGS = """
import json, os, resource, signal, sys
print(json.dumps({
    "env": dict(os.environ),
    "cwd": os.getcwd(),
    "leader": os.getsid(0) == os.getpid() == os.getpgid(0),
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
    "status": dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines()),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "oom_score": int(open("/proc/self/oom_score_adj").read()),
    "stdin": os.readlink("/proc/self/fd/0"),
}))
"""


@pytest.mark.parametrize("code", [0, 1, 42, 255])
async def test_the_exit_code_is_the_stages_own(attempts: LocalAttempts, code: int) -> None:
    result = await attempts.run("sh", "-c", f"exit {code}")
    assert (result.finish_reason, result.exit_code, result.signal) == (FinishReason.EXITED, code, None)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
async def test_a_stage_killed_by_a_signal_is_distinguished_from_a_cancelled_one(
    attempts: LocalAttempts, number: signal.Signals
) -> None:
    result = await attempts.run("sh", "-c", f"kill -{number.value} $$")
    assert (result.finish_reason, result.exit_code, result.signal) == (FinishReason.SIGNALED, None, number)


async def test_a_missing_command_is_named_with_the_reason(attempts: LocalAttempts) -> None:
    result = await attempts.run("no-such-command", env={"PATH": "/usr/bin:/bin"})
    assert (result.finish_reason, result.exit_code) == (FinishReason.START_FAILED, None)
    assert result.error == "command 'no-such-command': No such file or directory"


async def test_a_file_that_is_no_program_is_named_with_the_reason(attempts: LocalAttempts) -> None:
    result = await attempts.run("/etc/passwd")
    assert result.finish_reason is FinishReason.START_FAILED
    assert result.error == "command '/etc/passwd': Permission denied"


async def test_a_missing_working_directory_is_named_with_the_reason(attempts: LocalAttempts) -> None:
    result = await attempts.run("true", workdir="/no/such/folder")
    assert result.finish_reason is FinishReason.START_FAILED
    assert result.error == "working directory '/no/such/folder': No such file or directory"


async def test_a_command_that_can_not_be_passed_to_the_kernel_is_a_failed_start(
    attempts: LocalAttempts,
) -> None:
    for argv in ([], ["null\0byte"]):
        result = await attempts.run(*argv)
        assert result.finish_reason is FinishReason.START_FAILED
        assert result.error


async def test_the_stage_sees_its_own_environment_and_nothing_of_the_server(
    attempts: LocalAttempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    spec = await attempts.prepare(sys.executable, "-S", "-c", SURROUNDINGS, env={"GREETING": "hello"})
    await attempts.executor.launch(spec)
    await attempts.end(spec.attempt_id)
    seen = json.loads(attempts.output(spec.attempt_id))
    seen["env"].pop("LC_CTYPE", None)  # set by the interpreter itself
    folder = attempts.executor.folder(spec.attempt_id)
    assert seen["env"] == {
        **host_variables(folder),
        **file_variables(folder),
        "GREETING": "hello",
        "MLP_ATTEMPT_ID": spec.attempt_id,
    }
    assert not any("secret" in value for value in seen["env"].values())
    assert seen["cwd"] == str(folder / "work")


async def test_the_stage_inherits_no_descriptor_signal_mask_or_limit_of_the_shim(
    attempts: LocalAttempts,
) -> None:
    attempt_id = await attempts.start(sys.executable, "-S", "-c", SURROUNDINGS)
    await attempts.end(attempt_id)
    seen = json.loads(attempts.output(attempt_id))
    assert seen["descriptors"][:3] == [0, 1, 2]
    assert len(seen["descriptors"]) == 4, "the fourth is that of the listing itself"
    assert seen["stdin"] == "/dev/null"
    assert int(seen["status"]["SigBlk"], 16) == 0
    ignored_by_python = (1 << signal.SIGPIPE - 1) | (1 << signal.SIGXFSZ - 1)
    assert int(seen["status"]["SigIgn"], 16) == ignored_by_python
    assert seen["status"]["Umask"] == "0077"
    assert seen["leader"]
    assert seen["core"] == [0, 0]
    assert seen["oom_score"] == 500


async def test_a_shell_dies_of_a_closed_pipe_as_usual(attempts: LocalAttempts) -> None:
    attempt_id = await attempts.start("bash", "-c", "yes | head -1; echo ${PIPESTATUS[0]}")
    await attempts.end(attempt_id)
    assert attempts.output(attempt_id) == b"y\n141\n"


async def test_the_spec_with_its_secrets_is_gone_once_the_stage_was_started(attempts: LocalAttempts) -> None:
    attempt_id = await attempts.start("sh", "-c", "echo ready; exec sleep 100", env={"PATH": "/usr/bin:/bin"})
    await attempts.says(attempt_id, "ready")
    assert not list(attempts.executor.folder(attempt_id).glob("spec*"))
    await attempts.cancel(attempt_id)


def test_the_shim_starts_without_costly_imports() -> None:
    code = f"import sys; sys.path.append({str(SHIM.parents[2])!r}); import app.runner.attempt; print(*sys.modules)"
    command = [sys.executable, "-S", "-I", "-c", code]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert "app.runner.supervision" in loaded
    assert not loaded & {"asyncio", "dataclasses", "logging", "pathlib", "psutil", "subprocess", "typing"}
