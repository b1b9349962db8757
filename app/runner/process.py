"""Starts the stage: a forked child resets everything it inherited from the shim, then executes the command."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal

from app.runner.spec import Spec
from app.runner.system import die_with_parent

PIPE_BYTES = 1 << 20
OOM_SCORE_ADJUSTMENT = 500
LONGEST_ERROR_CHARACTERS = 1000


class StartFailed(Exception):
    """The command could not be executed; ``text`` says why."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text[:LONGEST_ERROR_CHARACTERS]


def start_stage(spec: Spec) -> tuple[int, int]:
    """Runs the command; returns its pid and the reading end of its output. Raises StartFailed."""
    output, stage_output = os.pipe()
    report, stage_report = os.pipe()
    with contextlib.suppress(OSError, AttributeError):  # the limit for pipes of this user, or not Linux
        fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    shim = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become_stage(spec, shim, stage_output, stage_report)
    os.close(stage_output)
    os.close(stage_report)
    failure = _read_report(report)
    if failure:
        os.waitpid(pid, 0)
        raise StartFailed(failure.decode(errors="replace"))
    os.set_blocking(output, False)
    return pid, output


def _read_report(report: int) -> bytes:
    """Empty if exec succeeded: the pipe is close-on-exec, so its end proves that the command runs."""
    with open(report, "rb") as file:
        return file.read()


def _become_stage(spec: Spec, shim: int, output: int, report: int) -> None:
    """In the forked child: never returns. A failure is reported to the shim through ``report``."""
    doing = "process"
    try:
        os.setsid()
        die_with_parent()
        if os.getppid() != shim:
            os._exit(127)  # the shim died before the line above took effect
        _restore_signals()
        _limit_resources()
        _connect_streams(output)
        doing = f"working directory {spec.cwd!r}"
        os.chdir(spec.cwd)
        doing = f"command {spec.argv[0]!r}" if spec.argv else "empty command"
        os.execvpe(spec.argv[0], spec.argv, spec.env)
    except OSError as error:
        os.write(report, f"{doing}: {error.strerror}".encode(errors="replace"))
    except BaseException as error:
        os.write(report, f"{doing}: {error}".encode(errors="replace"))
    finally:
        os._exit(127)


def _restore_signals() -> None:
    """Ignored and blocked signals survive exec: Python ignores SIGPIPE, the shim SIGHUP."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _limit_resources() -> None:
    """When memory runs out, the kernel is to kill the stage, not the shim. A core dump may hold secrets."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(OOM_SCORE_ADJUSTMENT))


def _connect_streams(output: int) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
