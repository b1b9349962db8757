"""The graph of the stages of a run: their order, what depends on a stage, and the outcome of the run."""

from __future__ import annotations

import graphlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from app.domain.vocabulary import FinishReason, RunStatus, StageStatus

Key = TypeVar("Key", bound=Hashable)


class CycleFound(Exception):
    """The dependencies form a cycle; ``path`` begins and ends with the same key."""

    def __init__(self, path: Sequence[str]) -> None:
        self.path = tuple(path)
        super().__init__(" -> ".join(self._shown()))

    def _shown(self) -> list[str]:
        """The path; the middle of a long one is left out."""
        if len(self.path) <= 20:
            return list(self.path)
        return [*self.path[:10], f"({len(self.path) - 19} more)", *self.path[-9:]]


def topological_order(dependencies: Mapping[str, Iterable[str]]) -> list[str]:
    """The keys, each after its dependencies. Raises ``CycleFound`` if there is no such order."""
    try:
        return list(graphlib.TopologicalSorter(dependencies).static_order())
    except graphlib.CycleError as error:
        # graphlib lists the cycle from dependency to dependent; people read "a needs b".
        raise CycleFound(list(reversed(error.args[1]))) from error


def downstream(start: Key, dependencies: Mapping[Key, Iterable[Key]]) -> list[Key]:
    """All keys that depend on ``start``, directly or indirectly, nearest first."""
    dependents: dict[Key, list[Key]] = defaultdict(list)
    for key, needed in dependencies.items():
        for other in needed:
            dependents[other].append(key)
    found: dict[Key, None] = {}
    todo = [start]
    for key in todo:
        fresh = [dependent for dependent in dependents[key] if dependent not in found]
        found.update(dict.fromkeys(fresh))
        todo.extend(fresh)
    return list(found)


def outcome(
    stages: Iterable[tuple[StageStatus, bool]], *, cancelled: bool, stopped_by: FinishReason | None
) -> RunStatus:
    """The final status of a run whose stages, given as (status, allow_failure) pairs, are all final.

    A run fails if it was stopped by its time limit, or a stage failed without ``allow_failure``. If a cancel came too
    late to stop any stage, the run is COMPLETED.
    """
    statuses = list(stages)
    if stopped_by is FinishReason.TIMED_OUT:
        return RunStatus.FAILED
    if any(status is StageStatus.FAILED and not allowed for status, allowed in statuses):
        return RunStatus.FAILED
    if cancelled and any(status is StageStatus.CANCELLED for status, _ in statuses):
        return RunStatus.CANCELLED
    return RunStatus.COMPLETED
