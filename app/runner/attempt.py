"""One attempt from the lock to the result: the order of steps is what makes a crash at any point harmless.

No identity in the lock: nothing was started, the attempt may be launched again. Identity but no result: lost. A result
exists only when the process tree is empty and the log and the journal are on the disk.
"""

from __future__ import annotations

import os
import sys

from app.runner import files
from app.runner.guardian import guard
from app.runner.journal import JournalWriter
from app.runner.lock import take_lock, write_identity
from app.runner.logs import BoundedLog
from app.runner.process import StartFailed, start_stage
from app.runner.result import ResultWriter
from app.runner.sampler import Sampler
from app.runner.spec import Spec
from app.runner.supervision import Doorbell, Supervision
from app.runner.system import become_subreaper, now_seconds
from app.runner.tree import ProcessTree

EXIT_LOCK_HELD = 75


def run_attempt(folder: str, lock: int | None) -> None:
    """Run the attempt in ``folder`` to its end, unless it has a result already."""
    os.umask(0o077)
    lock = _own_lock(folder, lock)
    if os.path.exists(os.path.join(folder, files.RESULT)):
        return
    guard()
    spec = Spec(folder)
    sys.path += spec.site_paths
    doorbell = Doorbell()
    become_subreaper()
    journal = JournalWriter(spec.path(files.JOURNAL))
    log = BoundedLog(spec.path(files.OUTPUT), spec.log_limit_bytes, journal)
    result = ResultWriter(spec, journal, log)
    write_identity(lock)
    if spec.cancel_asked():
        spec.remove()
        result.write_unstarted("CANCELLED")
    else:
        _run_stage(spec, doorbell, journal, log, result)


def _own_lock(folder: str, inherited: int | None) -> int:
    lock = take_lock(os.path.join(folder, files.LOCK)) if inherited is None else inherited
    if lock is None:
        sys.exit(EXIT_LOCK_HELD)
    os.set_inheritable(lock, False)  # else a stage which outlives the shim would keep the attempt alive
    return lock


def _run_stage(
    spec: Spec, doorbell: Doorbell, journal: JournalWriter, log: BoundedLog, result: ResultWriter
) -> None:
    started_at = now_seconds()
    try:
        pid, output = start_stage(spec)
    except StartFailed as failure:
        result.write_unstarted("START_FAILED", failure)
        return
    finally:
        spec.remove()
    journal.write("started", pid=pid)
    tree = ProcessTree(pid)
    sampler = Sampler(tree, spec.sample_interval_seconds, started_at)
    supervision = Supervision(spec, tree, sampler, journal, log, output, doorbell)
    supervision.follow()
    result.write_ended(tree, sampler, supervision)
