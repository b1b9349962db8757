"""Follows a started stage until its whole process tree has ended."""

from __future__ import annotations

import os
import select
import signal

from app.runner.journal import JournalWriter
from app.runner.logs import BoundedLog
from app.runner.sampler import Sampler
from app.runner.spec import Spec
from app.runner.system import now_seconds
from app.runner.tree import ProcessTree, descendants, name_of

READ_BYTES = 256 << 10
READS_PER_PUMP = 16
CANCEL_POLL_SECONDS = 0.5
KILL_PAUSE_SECONDS = 0.02
LONGEST_KILL_PAUSE_SECONDS = 0.5
LINGER_SECONDS = 0.2
"""Processes that end within this time after the main one are not stragglers: `... | tee` ends a little later."""
STRAGGLERS_NAMED = 20


class SignalPipe:
    """Wakes the shim at SIGCHLD, SIGTERM and SIGINT. The latter two request a cancel."""

    def __init__(self) -> None:
        self.cancel_requested = False
        self.descriptor, self._writing_end = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._writing_end, False)
        signal.set_wakeup_fd(self._writing_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request_cancel)

    def drain(self) -> None:
        os.read(self.descriptor, 4096)

    def _request_cancel(self, *_: object) -> None:
        self.cancel_requested = True


class Supervision:
    """Moves output to the log, takes samples, stops the stage at a cancel or a limit, and ends its stragglers."""

    def __init__(
        self,
        spec: Spec,
        tree: ProcessTree,
        sampler: Sampler,
        journal: JournalWriter,
        log: BoundedLog,
        output: int,
        signals: SignalPipe,
    ) -> None:
        self.stop_reason: str | None = None
        self.stragglers_ended = 0
        self.straggler_names: list[str] = []
        self._spec = spec
        self._tree = tree
        self._sampler = sampler
        self._journal = journal
        self._log = log
        self._output: int | None = output
        self._signals = signals
        self._kill_at: float | None = None
        self._timeout_at = None if spec.timeout_seconds is None else now_seconds() + spec.timeout_seconds
        self._poll = select.poll()
        self._poll.register(output, select.POLLIN)
        self._poll.register(signals.descriptor, select.POLLIN)

    def follow(self) -> None:
        while not self._main_has_ended():
            if self.stop_reason is None:
                self._check_cancel_and_timeout()
            self._kill_if_due()
            self._sample_if_due()
            self._wait(self._next_wake())
        self._end_stragglers()
        self._pump()  # no process writes any more, and one call reads more than the pipe can hold
        self._write_sample(self._sampler.close())

    def _main_has_ended(self) -> bool:
        """Checked before every reason to stop: a stage that has ended by itself is not stopped."""
        self._tree.reap()
        return self._tree.main_status is not None

    def _next_wake(self) -> float:
        wakes = [now_seconds() + CANCEL_POLL_SECONDS, self._sampler.due_at]
        if self._kill_at is not None:
            wakes.append(max(self._kill_at, now_seconds() + KILL_PAUSE_SECONDS))
        elif self._timeout_at is not None:
            wakes.append(self._timeout_at)
        return min(wakes)

    def _wait(self, until: float) -> None:
        """Sleeps until then, or until there is output or a signal."""
        milliseconds = max(0, int((until - now_seconds()) * 1000) + 1)
        for descriptor, _ in self._poll.poll(milliseconds):
            if descriptor == self._signals.descriptor:
                self._signals.drain()
            else:
                self._pump()

    def _pump(self) -> None:
        """Moves output to the log. Bounded, so that no limit is missed."""
        for _ in range(READS_PER_PUMP):
            if self._output is None:
                return
            try:
                chunk = os.read(self._output, READ_BYTES)
            except BlockingIOError:
                return
            if chunk:
                self._log.write(chunk)
            else:
                self._close_output(self._output)

    def _close_output(self, output: int) -> None:
        self._poll.unregister(output)
        os.close(output)
        self._output = None

    def _check_cancel_and_timeout(self) -> None:
        if self._signals.cancel_requested or self._spec.cancel_asked():
            self._stop("CANCELLED", self._spec.grace_seconds)
        elif self._timeout_at is not None and now_seconds() >= self._timeout_at:
            self._stop("TIMED_OUT", self._spec.grace_seconds)

    def _stop(self, reason: str, grace_seconds: float) -> None:
        self.stop_reason = reason
        self._kill_at = now_seconds() + grace_seconds
        self._journal.write("stopping", reason=reason)
        self._tree.terminate()

    def _kill_if_due(self) -> None:
        if self._kill_at is not None and now_seconds() >= self._kill_at:
            self._tree.kill()

    def _sample_if_due(self) -> None:
        if now_seconds() < self._sampler.due_at:
            return
        self._write_sample(self._sampler.sample())
        limit_bytes = self._spec.memory_limit_bytes
        if self.stop_reason is None and limit_bytes is not None and self._sampler.memory_bytes > limit_bytes:
            # No grace: the host is short of memory, and the kernel would give none either.
            self._stop("OUT_OF_MEMORY", grace_seconds=0)

    def _write_sample(self, figures: dict[str, object] | None) -> None:
        if figures is not None:
            self._journal.write("sample", **figures, logBytes=self._log.kept_bytes)

    def _end_stragglers(self) -> None:
        """Ends the processes that outlive the main one: SIGTERM first, then SIGKILL until none is left.

        After a stop they have the rest of the stage's grace time, after a normal end a grace time of their own.
        """
        if self.stop_reason is None:
            self._linger(now_seconds() + LINGER_SECONDS)
        self._tree.reap()
        if self._tree.empty:
            return
        self._report_stragglers(descendants())
        deadline = self._kill_at or now_seconds() + self._spec.straggler_grace_seconds
        self._tree.terminate()
        self._linger(deadline)
        pause_seconds = KILL_PAUSE_SECONDS
        while not self._tree.empty:
            self._tree.kill()
            self._wait(now_seconds() + pause_seconds)
            self._tree.reap()
            pause_seconds = min(pause_seconds * 2, LONGEST_KILL_PAUSE_SECONDS)

    def _linger(self, until: float) -> None:
        while not self._tree.empty and now_seconds() < until:
            self._wait(until)
            self._tree.reap()

    def _report_stragglers(self, pids: list[int]) -> None:
        self.stragglers_ended = len(pids)
        self.straggler_names = [name_of(pid) for pid in pids[:STRAGGLERS_NAMED]]
        self._journal.write("stragglers", count=len(pids), names=self.straggler_names)
