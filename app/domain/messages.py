"""Why the engine ends stages by itself, each sentence once; docs/endings-and-errors.md lists them all."""

from __future__ import annotations

from app.domain.vocabulary import StageStatus


def cancelled(actor: str | None, reason: str | None) -> str:
    """A client has cancelled the run."""
    by = f" by {actor}" if actor else ""
    return f"the run was cancelled{by}: {reason or 'no reason was given'}"


def stopped_fail_fast(stage_name: str) -> str:
    """A stage of the run has failed, and that ends the others."""
    return f"stage {stage_name!r} failed and the run is fail-fast"


def upstream_failed(stage_name: str, status: StageStatus) -> str:
    """A dependency of the stage did not complete, so that it can never start."""
    return f"stage {stage_name!r}, which this one depends on, ended {status}"


def over_time(limit_seconds: float) -> str:
    """The run took longer than its time limit."""
    return f"the run reached its time limit of {limit_seconds:g} s"


def waited_too_long(limit_seconds: float) -> str:
    """The run did not start within its ``queueTimeout``."""
    return f"the run waited in the queue longer than its queueTimeout of {limit_seconds:g} s"


def too_large(asked: str, largest: str) -> str:
    """No worker has the resources that the stage claims; both arguments are amounts as text."""
    return f"no worker is large enough: the stage asks for {asked}, the largest has {largest}"


def host_is_silent(host_name: str | None, silent_seconds: float) -> str:
    """The host of an attempt sends no heartbeats, so that the end of the attempt is unknown."""
    where = f"host {host_name!r}" if host_name else "its host"
    return f"{where} has sent no heartbeat for more than {silent_seconds:g} s"


def runner_was_stopped() -> str:
    """The runner of an attempt received a signal that the server did not send, for example when its host shut down."""
    return "its runner received a signal that the server did not send"


def runner_vanished() -> str:
    """The runner of an attempt was killed, or its host failed."""
    return "its runner ended without a result"


def end_is_unknown(error: str | None) -> str:
    """An attempt is lost after a stop was requested: CANCELLED would promise that its processes have ended."""
    return f"{error}; a stop was requested, but its processes may still be running"
