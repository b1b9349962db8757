"""Why a stage with a cache was executed; stored at the decision, so that later changes do not alter it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.cache.keys import KeyChange, KeyPart, key_changes

CHANGES_LIMIT = 20
NAMED_LIMIT = 5
"""How many changes a sentence names."""


class MissReason(enum.StrEnum):
    """Why no earlier result was reused."""

    FIRST = "FIRST"
    CHANGED = "CHANGED"
    OUTPUTS_GONE = "OUTPUTS_GONE"
    FILES_CHANGED_MEANWHILE = "FILES_CHANGED_MEANWHILE"
    BYPASSED = "BYPASSED"


_SENTENCES = {
    MissReason.FIRST: "no execution of this stage has completed with a cache key yet",
    MissReason.OUTPUTS_GONE: "outputs of the last execution with the same key no longer exist",
    MissReason.FILES_CHANGED_MEANWHILE: "its files changed while the last execution with the same key ran",
    MissReason.BYPASSED: "its run was started with cache: false",
}


@dataclass(frozen=True, slots=True)
class CacheMiss:
    """Why a stage was executed: the first ``changes`` since its last execution, out of ``change_count``."""

    reason: MissReason
    changes: tuple[KeyChange, ...] = ()
    change_count: int = 0

    @property
    def summary(self) -> str:
        """The reason as a part of a sentence."""
        if self.reason is not MissReason.CHANGED:
            return _SENTENCES[self.reason]
        named = [change.summary for change in self.changes[:NAMED_LIMIT]]
        more = self.change_count - len(named)
        return f"since its last execution {'; '.join(named)}{f'; and {more} more' if more else ''}"

    def as_json(self) -> dict[str, Any]:
        """The stored form."""
        return {
            "reason": self.reason.value,
            "changes": [
                {"part": change.part.value, "name": change.name, "summary": change.summary}
                for change in self.changes
            ],
            "changeCount": self.change_count,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> CacheMiss:
        """The inverse of ``as_json``."""
        changes = (
            KeyChange(KeyPart(item["part"]), item["name"], item["summary"]) for item in stored["changes"]
        )
        return cls(MissReason(stored["reason"]), tuple(changes), stored["changeCount"])


def changed_since(before: Mapping[str, Any], after: Mapping[str, Any]) -> CacheMiss:
    """Why ``after`` found no result, where the last execution had the key ``before``."""
    changes: Sequence[KeyChange] = key_changes(before, after)
    if not changes:
        return CacheMiss(MissReason.FILES_CHANGED_MEANWHILE)
    return CacheMiss(MissReason.CHANGED, tuple(changes[:CHANGES_LIMIT]), len(changes))
