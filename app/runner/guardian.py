"""The shim's other half: what is left when the process that supervises the stage is killed."""

from __future__ import annotations

import os
import signal
import time

from app.runner.system import become_subreaper

FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.5


def guard() -> None:
    """Fork: the child returns and runs the attempt, the parent keeps the lock until nothing of it is left.

    Should the child be killed, its descendants become the parent's, wherever they hide: whatever sessions they began
    and environments they have. So a free lock says that no process of the attempt runs any more, unless both were
    killed. A child that exits with 0 has seen to all that itself.
    """
    become_subreaper()
    child = os.fork()
    if child == 0:
        return
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _, status = os.waitpid(child, 0)
    if status != 0:
        _end_all()
    os._exit(0)


def _end_all() -> None:
    from app.runner.tree import ProcessTree

    tree = ProcessTree(main_pid=0)
    pause_seconds = FIRST_PAUSE_SECONDS
    while True:
        tree.reap()
        if tree.empty:
            return
        tree.kill()
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 2, LONGEST_PAUSE_SECONDS)
