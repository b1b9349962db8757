"""One attempt from the lock to the result. The order of the steps makes a crash at any point harmless.

Without an identity in the lock nothing has started, and the attempt may be launched again. With an identity and no
result it is lost. The result is written when the process tree is empty and the log and the journal are on the disk.
"""

from __future__ import annotations

import os
import sys

from app.runner import files
from app.runner.journal import JournalWriter
from app.runner.lock import write_identity
from app.runner.logs import BoundedLog
from app.runner.process import StartFailed, start_stage
from app.runner.result import ResultWriter
from app.runner.sampler import Sampler
from app.runner.spec import Spec
from app.runner.supervision import SignalPipe, Supervision
from app.runner.system import become_subreaper, now_seconds
from app.runner.tree import ProcessTree


def run_attempt(folder: str, lock: int) -> None:
    """Runs the attempt in ``folder`` to its end, unless it has a result. The caller holds its ``lock``."""
    os.umask(0o077)
    if os.path.exists(os.path.join(folder, files.RESULT)):
        return
    spec = Spec(folder)
    sys.path += spec.site_paths
    signals = SignalPipe()
    become_subreaper()
    journal = JournalWriter(spec.path(files.JOURNAL))
    log = BoundedLog(spec.path(files.LOG), spec.log_limit_bytes, journal)
    result = ResultWriter(spec, journal, log)
    write_identity(lock)
    if spec.cancel_asked():
        spec.remove()
        result.write_unstarted("CANCELLED")
    else:
        _run_stage(spec, signals, journal, log, result)


def _run_stage(
    spec: Spec, signals: SignalPipe, journal: JournalWriter, log: BoundedLog, result: ResultWriter
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
    supervision = Supervision(spec, tree, sampler, journal, log, output, signals)
    supervision.follow()
    result.write_ended(tree, sampler, supervision)
