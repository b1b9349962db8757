"""The child process: ``python -m app.inspection FILE...`` prints one JSON line of facts for each file.

Without arguments it takes ``{"path", "name"}`` lines from its input. It limits itself before it opens anything.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import resource
import sys
from pathlib import Path

from app.inspection.facts import Budget, Inspection, Unreadable, clip
from app.inspection.formats import inspect

CPU_SECONDS_PER_FILE = 30
MEMORY_LIMIT_BYTES = 4 << 30


def main() -> None:
    files = [(argument, argument) for argument in sys.argv[1:]] or _files_of_input()
    _limit_process()
    for path, name in files:
        _allow_cpu_seconds(CPU_SECONDS_PER_FILE)
        facts = json.dumps(dataclasses.asdict(_inspect(Path(path), name)))
        sys.stdout.write(facts + "\n")
        sys.stdout.flush()


def _files_of_input() -> list[tuple[str, str]]:
    wanted = [json.loads(line) for line in sys.stdin]
    return [(file["path"], file["name"]) for file in wanted]


def _limit_process() -> None:
    gc.disable()  # there are no cycles worth the time of a search
    os.nice(10)
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_LIMIT_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))


def _allow_cpu_seconds(seconds: int) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + seconds, hard))


def _inspect(path: Path, name: str) -> Inspection:
    try:
        return inspect(path, name, Budget())
    except Unreadable as error:
        return Inspection(error=clip(str(error)))
    except MemoryError:
        return Inspection(error=f"it needs more than {MEMORY_LIMIT_BYTES >> 30} GB of memory")
    except RecursionError:
        return Inspection(error="it is nested too deeply")
    except (
        Exception
    ) as error:  # a hostile file may cause any error, and the next files are inspected all the same
        return Inspection(error=clip(f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    main()
