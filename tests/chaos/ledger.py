"""The ledger that the stages write themselves, and whether the rows agree with it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.domain.vocabulary import FinishReason, StageStatus
from tests.chaos.evidence import Evidence, Row


@dataclass
class Entry:
    """The lines of one attempt; times in monotonic nanoseconds."""

    key: str
    begins: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    home: str = ""
    exit_code: int | None = None
    saw: dict[str, str] = field(default_factory=dict)
    """By dependency: the attempt whose output this one has read."""


def read_ledger(path: Path) -> dict[str, Entry]:
    """By ``<stage run>.<attempt>``."""
    entries: dict[str, Entry] = {}
    for line in path.read_text().splitlines():
        at, what, key, *words = line.split(" ")
        entry = entries.setdefault(key, Entry(key))
        match what:
            case "begin":
                entry.begins.append(int(at))
                entry.home = words[1]
            case "saw":
                entry.saw[words[0]] = words[1]
            case "end":
                entry.ends.append(int(at))
                entry.exit_code = int(words[0])
    return entries


def contradictions(
    evidence: Evidence, ledger: Mapping[str, Entry], hosts: Mapping[str, uuid.UUID]
) -> Iterator[str]:
    """Contradictions between rows and ledger. ``hosts`` are the host ids by the names of the homes."""
    for key, entry in ledger.items():
        yield from _entry_alone(entry)
        attempt = evidence.attempts.get(key)
        if attempt is None:
            yield f"attempt {key} began and has no row"
        elif attempt.host_id != hosts[entry.home]:
            yield f"attempt {key} ran in {entry.home}, which is not the host of its row"
    for key, attempt in evidence.attempts.items():
        yield from _attempt(key, attempt, ledger.get(key))
    for stage in evidence.stages.values():
        yield from _stage(stage, evidence, ledger)


def _entry_alone(entry: Entry) -> Iterator[str]:
    if len(entry.begins) != 1:
        yield f"attempt {entry.key} was started {len(entry.begins)} times"
    if len(entry.ends) > 1:
        yield f"attempt {entry.key} ended {len(entry.ends)} times"


def _attempt(key: str, attempt: Row, entry: Entry | None) -> Iterator[str]:
    if attempt.finish_reason is None:
        yield f"attempt {key} has no end"
    if attempt.finish_reason is FinishReason.EXITED:
        said = entry.exit_code if entry is not None else None
        if said != attempt.exit_code:
            yield f"attempt {key} exited with {attempt.exit_code}, its ledger says {said}"


def _stage(stage: Row, evidence: Evidence, ledger: Mapping[str, Entry]) -> Iterator[str]:
    keys = [f"{stage.id}.{number}" for number in range(1, stage.attempt_number + 1)]
    known = [key for key in evidence.attempts if key.startswith(f"{stage.id}.")]
    if sorted(known) != sorted(keys):
        yield f"stage {stage.id} is at attempt {stage.attempt_number} and has the attempts {known}"
    attempts = [evidence.attempts[key] for key in keys if key in evidence.attempts]
    completed = [
        row.attempt for row in attempts if row.finish_reason is FinishReason.EXITED and not row.exit_code
    ]
    expected = [stage.attempt_number] if stage.status is StageStatus.COMPLETED else []
    if completed != expected:
        yield f"stage {stage.id} is {stage.status}, and its attempts {completed} of {len(keys)} completed"
    if stage.status is StageStatus.COMPLETED:
        yield from _order(stage, ledger.get(keys[-1], Entry(keys[-1])), evidence, ledger)


def _order(stage: Row, entry: Entry, evidence: Evidence, ledger: Mapping[str, Entry]) -> Iterator[str]:
    """A stage begins after its dependencies have ended, with the outputs of their last attempts only."""
    completed = {}
    for row in map(evidence.stages.__getitem__, stage.depends_on):
        if row.status is StageStatus.COMPLETED:
            key = completed[row.name] = f"{row.id}.{row.attempt_number}"
            if min(entry.begins, default=0) < max(ledger[key].ends, default=0):
                yield f"stage {stage.id} began before {row.name} had ended"
    if entry.saw != completed:
        yield f"stage {stage.id} saw the outputs of {entry.saw}, not of {completed}"


def crowds(evidence: Evidence, ledger: Mapping[str, Entry], per_host: int) -> Iterator[str]:
    """Groups of processes that exceeded a limit: per host, per run, per concurrency key.

    Only attempts that exited count: those that were given up as lost could not be stopped at that moment.
    """
    groups: dict[tuple[str, Hashable], tuple[int, list[Entry]]] = {}
    for key, entry in ledger.items():
        attempt = evidence.attempts.get(key)
        if attempt is None or attempt.finish_reason is not FinishReason.EXITED:
            continue
        run = evidence.runs[evidence.stages[attempt.stage_run_id].pipeline_run_id]
        limits = {
            ("host", entry.home): per_host,
            ("run", run.id): run.max_concurrent_stages,
            ("key", run.concurrency_key): run.concurrency_key and 1,
        }
        for group, limit in limits.items():
            if limit is not None:
                groups.setdefault(group, (limit, []))[1].append(entry)
    for group, (limit, entries) in groups.items():
        if (most := _most_at_once(entries)) > limit:
            yield f"{most} stages of {group} were active at the same time, not {limit}"


def _most_at_once(entries: list[Entry]) -> int:
    changes = [(entry.begins[0], 1) for entry in entries] + [(entry.ends[0], -1) for entry in entries]
    return max(itertools.accumulate(change for _, change in sorted(changes)))
