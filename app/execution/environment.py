"""The environment variables of a stage: what it is, and where its files are."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from app.database.reads.attempts import Attempt
from app.domain.attempts import METRICS_FILE, PARAMS_FILE, STAGE_RESULT_FILE
from app.runner import files

_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


def stage_variables(attempt: Attempt) -> dict[str, str]:
    """The variables that the stage's definition sets, and those that name the attempt."""
    return {
        **attempt.config.env,
        "MLP_RUN_ID": str(attempt.run_id),
        "MLP_STAGE": attempt.stage_name,
        "MLP_STAGE_RUN_ID": str(attempt.stage_run_id),
        "MLP_ATTEMPT": str(attempt.number),
    }


def host_variables(folder: Path) -> dict[str, str]:
    """Defaults for an attempt in ``folder`` on this host, which a stage may override.

    The server's interpreter comes first on PATH, so that ``python`` is one that has its packages. No other variable
    of the server is passed on: its environment may hold secrets.
    """
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", _DEFAULT_PATH)]),
        "HOME": str(folder / files.HOME),
        "TMPDIR": str(folder / files.TEMPORARY),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "TZ": os.environ.get("TZ", "UTC"),
        "PYTHONUNBUFFERED": "1",
    }


def file_variables(folder: Path) -> dict[str, str]:
    """Where an attempt in ``folder`` finds its files."""
    return {
        "MLP_PARAMS": str(folder / PARAMS_FILE),
        "MLP_INPUTS": str(folder / files.INPUTS),
        "MLP_OUTPUT_DIR": str(folder / files.OUTPUTS),
        "MLP_METRICS": str(folder / METRICS_FILE),
        "MLP_RESULT": str(folder / STAGE_RESULT_FILE),
    }
