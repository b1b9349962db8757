"""The parent of the process that supervises the stage: it cleans up when that process is killed."""

from __future__ import annotations

import os
import signal
import time

from app.runner.system import become_subreaper

FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.5


def guard() -> None:
    """Forks. The child returns and runs the attempt; the parent holds the lock until no process of it is left.

    If the child is killed, its descendants become children of the parent, in whatever session or environment they
    run, and the parent kills them. So a free lock proves that no process of the attempt runs any more, unless both
    were killed. A child that exits with 0 has ended all processes itself.
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
