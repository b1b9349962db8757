"""Entry of the shim: ``python -S -I app/runner/__main__.py DIR [LOCKFD]``.

DIR is the attempt's folder. LOCKFD is the descriptor of its lock, if the process that starts the shim has taken it.
Without LOCKFD the shim takes the lock itself, because a cluster node can't inherit a descriptor, and exits with 75 if
another process holds it.
"""

from __future__ import annotations

import os
import sys

EXIT_LOCK_HELD = 75


def main() -> None:
    # -S -I leave only the standard library on the path. Ours comes last, so that it shadows no module of it.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    folder = sys.argv[1]
    lock = int(sys.argv[2]) if len(sys.argv) > 2 else take_own_lock(folder)
    os.set_inheritable(lock, False)  # else a stage that outlives the shim would hold the lock
    from app.runner.guardian import guard

    guard()  # before any other import, so that the guardian stays small
    from app.runner.attempt import run_attempt

    run_attempt(folder, lock)
    os._exit(0)  # the result is durable, so nothing may delay the release of the lock


def take_own_lock(folder: str) -> int:
    from app.runner import files
    from app.runner.lock import take_lock

    lock = take_lock(os.path.join(folder, files.LOCK))
    if lock is None:
        sys.exit(EXIT_LOCK_HELD)
    return lock


if __name__ == "__main__":
    main()
