"""Names of the files in an attempt's folder, as the shim and the server know them."""

from __future__ import annotations

SPEC = "spec.json"
LOCK = "lock"
JOURNAL = "events.jsonl"
OUTPUT = "output.log"
CANCEL = "cancel"
RESULT = "result.json"
UNFINISHED_RESULT = "result.tmp"
SHIM_ERRORS = "shim.err"
FOLDERS = ("out", "work", "home", "tmp", "inputs")
