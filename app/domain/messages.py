"""Why the engine ends stages on its own account, each sentence once; docs/endings-and-errors.md lists them all."""

from __future__ import annotations

from app.domain.vocabulary import StageStatus


def cancelled(actor: str | None, reason: str | None) -> str:
    """Somebody asked for the end of the run."""
    by = f" by {actor}" if actor else ""
    return f"the run was cancelled{by}: {reason or 'no reason was given'}"


def stopped_fail_fast(stage_name: str) -> str:
    """A stage of the run failed, which ends the others."""
    return f"stage {stage_name!r} failed and the run is fail-fast"


def upstream_failed(stage_name: str, status: StageStatus) -> str:
    """A stage can't begin any more."""
    return f"stage {stage_name!r}, which this one depends on, ended {status}"


def over_time(limit_seconds: float) -> str:
    """The run took too long."""
    return f"the run reached its time limit of {limit_seconds:g} s"


def waited_too_long(limit_seconds: float) -> str:
    """The run has not begun in time."""
    return f"the run waited in the queue longer than its queueTimeout of {limit_seconds:g} s"


def too_large(asked: str, largest: str) -> str:
    """No worker could ever take the stage; both are amounts of resources for people."""
    return f"no worker is large enough: the stage asks for {asked}, the largest has {largest}"


def host_is_silent(host_name: str | None, silent_seconds: float) -> str:
    """Nobody knows what became of an attempt."""
    where = f"host {host_name!r}" if host_name else "its host"
    return f"{where} has given no sign of life for more than {silent_seconds:g} s"


def runner_was_stopped() -> str:
    """Somebody ended the runner of an attempt without asking the server, as a host does that shuts down."""
    return "its runner was told to stop from outside"


def runner_vanished() -> str:
    """The runner of an attempt was killed, or its host went down."""
    return "its runner ended without a result"


def end_is_unknown(error: str | None) -> str:
    """The same of an attempt that was told to stop: CANCELLED would promise that nothing of it is left."""
    return f"{error}; it was told to stop, and nobody knows whether its processes are gone"
