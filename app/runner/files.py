"""Names of the files and folders of an attempt, as the shim and the server know them."""

from __future__ import annotations

SPEC = "spec.json"
LOCK = "lock"
JOURNAL = "events.jsonl"
LOG = "output.log"
"""A copy of ``app.domain.attempts.LOG_FILE``: the shim does not load the domain. A test compares both."""
CANCEL = "cancel"
RESULT = "result.json"
UNFINISHED_RESULT = "result.tmp"
SHIM_ERRORS = "shim.err"

OUTPUTS = "out"
WORK = "work"
HOME = "home"
TEMPORARY = "tmp"
INPUTS = "inputs"
FOLDERS = (OUTPUTS, WORK, HOME, TEMPORARY, INPUTS)
