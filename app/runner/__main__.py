"""Entry of the shim: ``python -S -I app/runner/__main__.py DIR [LOCKFD]``.

DIR is the attempt's folder. LOCKFD is the descriptor of its lock, already taken by whoever starts the shim; without
it the shim takes the lock itself (a cluster node can't inherit a descriptor) and exits with 75 if it is held.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    # -S -I leave only the standard library on the path; appended, so that it can't be shadowed.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from app.runner.attempt import run_attempt

    run_attempt(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None)
    os._exit(0)  # the result is durable: nothing at interpreter exit may delay the release of the lock


if __name__ == "__main__":
    main()
