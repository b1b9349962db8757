"""The program of every stage of the load. It records in the ledger what it does, independently of the product.

A line is ``<monotonic ns> <what> <stage run>.<attempt> ...``; it is flushed to the disk before the next step.
Started by path, without site-packages, so that hundreds of them start fast.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

OUTPUT = "who.txt"
FAILURE = 3


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("ledger")
    parser.add_argument("--seconds", type=float, default=1.0, help="longest duration")
    parser.add_argument("--fails", choices=("never", "first", "always"), default="never")
    parser.add_argument("--child", action="store_true", help="start a process in a session of its own")
    options = parser.parse_args()
    ledger = os.open(options.ledger, os.O_WRONLY | os.O_APPEND)
    output_folder = Path(os.environ["MLP_OUTPUT_DIR"])
    write(ledger, "begin", os.environ["MLP_RUN_ID"], output_folder.parents[2].name)
    for path in sorted(Path(os.environ["MLP_INPUTS"]).glob(f"*/{OUTPUT}")):
        write(ledger, "saw", path.parent.name, path.read_text())
    child = subprocess.Popen(["sleep", "600"], start_new_session=True) if options.child else None
    time.sleep(random.uniform(0.05, options.seconds))
    (output_folder / OUTPUT).write_text(own_name())
    if child is not None:
        child.kill()
        child.wait()
    code = FAILURE if fails(options.fails) else 0
    write(ledger, "end", str(code))
    return code


def own_name() -> str:
    return f"{os.environ['MLP_STAGE_RUN_ID']}.{os.environ['MLP_ATTEMPT']}"


def fails(mode: str) -> bool:
    """``first`` fails every odd attempt, so that an attempt lost in between does not matter."""
    return mode == "always" or (mode == "first" and int(os.environ["MLP_ATTEMPT"]) % 2 == 1)


def write(ledger: int, what: str, *words: str) -> None:
    line = " ".join([str(time.monotonic_ns()), what, own_name(), *words])
    os.write(ledger, line.encode() + b"\n")
    os.fsync(ledger)


if __name__ == "__main__":
    sys.exit(main())
