"""Why a run or a stage run is where it is."""

from __future__ import annotations

import datetime as dt
from typing import cast

import strawberry

from app.domain.explanations import Cause
from app.domain.explanations import Explanation as Facts
from app.graphql.enums import describe
from app.graphql.types.links import StageRunLink

describe(
    Cause,
    "What decides about a run or a stage run at the moment, or has decided.",
    {
        "WAITS_FOR_STAGES": "Stages it depends on are not done.",
        "WAITS_FOR_RUN": "Its run has not been started.",
        "WAITS_FOR_RETRY": "The last attempt failed, and the next one has its time.",
        "WAITS_FOR_OTHER_RUNS": "Runs of the same pipeline or concurrency key are at work, as many as may be.",
        "WAITS_FOR_RUN_LIMIT": "As many stages of its run are at work as may be.",
        "WAITS_FOR_CAPACITY": "Everything is done that it depends on; nobody has had room for it yet.",
        "WAITS_FOR_WORKER": "No worker is alive.",
        "AT_WORK": "It is being executed.",
        "STOPPING": "It was told to stop; its processes get time to end.",
        "SUCCEEDED": "It ended well.",
        "TAKEN_OVER": "It ended well in an earlier run, whose results stand in.",
        "FAILED": "It failed, and will not be tried again.",
        "SKIPPED": "Something it depends on did not end well.",
        "CANCELLED": "Somebody cancelled the run, or another stage failed and the run is fail-fast.",
    },
)


@strawberry.type(description="Why a run or a stage run is where it is.")
class Explanation:
    cause: Cause = strawberry.field(description="What decides.")
    summary: str = strawberry.field(description="The same in a sentence, for people.")
    because_of: list[StageRunLink] = strawberry.field(
        description="The stage runs which decide: those it waits for, which are at work, or which failed."
    )
    until: dt.datetime | None = strawberry.field(description="When the wait ends, if that is certain.")

    @classmethod
    def of(cls, facts: Facts) -> Explanation:
        return cls(
            cause=facts.cause,
            summary=facts.summary,
            because_of=cast("list[StageRunLink]", list(facts.because_of)),
            until=facts.until,
        )
