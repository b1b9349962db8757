"""Why a run or a stage run is where it is."""

from __future__ import annotations

import datetime as dt
from typing import cast

import strawberry

from app.domain.cache.keys import KeyPart
from app.domain.cache.misses import CacheMiss as MissFacts
from app.domain.cache.misses import MissReason
from app.domain.explanations import Cause
from app.domain.explanations import Explanation as Facts
from app.graphql.shared.enums import describe
from app.graphql.shared.links import StageRunLink

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

describe(
    KeyPart,
    "What decides about the results of a stage, and so whether earlier ones are taken from the cache.",
    {
        "FORMAT": "How this version of the server makes keys.",
        "VERSION": "`cache.version` of the stage.",
        "COMMAND": "Its command.",
        "WORKDIR": "Its working folder.",
        "ENVIRONMENT": "The environment variables which the pipeline declares.",
        "PARAMS": "Its parameters after all merging.",
        "FILES": "The content of its files: `cache.files`, or those its command names.",
        "INPUTS": "The content of what the stages it depends on left.",
    },
)
describe(
    MissReason,
    "Why nothing was taken from the cache.",
    {
        "FIRST": "No execution of the stage has completed with a key yet.",
        "CHANGED": "Something differs from the last execution, and no earlier one had the same key.",
        "OUTPUTS_GONE": "There was an execution with the same key, but outputs of it are gone.",
        "FILES_CHANGED_MEANWHILE": "Files changed while the execution with the same key ran: it can't be relied on.",
        "BYPASSED": "The run was started with `cache: false`.",
    },
)


@strawberry.type(description="A difference from the last execution of the stage.")
class CacheKeyChange:
    part: KeyPart = strawberry.field(description="What kind of thing changed.")
    name: str | None = strawberry.field(
        description="Which parameter, variable, file or input (`<stage>/<path>`), if the part has many."
    )
    summary: str = strawberry.field(
        description="The same in a few words. Values of variables are never told."
    )


@strawberry.type(description="Why a stage that has a cache was executed all the same.")
class CacheMiss:
    reason: MissReason = strawberry.field(description="What decided.")
    changes: list[CacheKeyChange] = strawberry.field(description="What changed, the first 20 of it.")
    change_count: int = strawberry.field(description="How much changed.")

    @classmethod
    def of(cls, facts: MissFacts) -> CacheMiss:
        return cls(
            reason=facts.reason,
            changes=[
                CacheKeyChange(part=change.part, name=change.name, summary=change.summary)
                for change in facts.changes
            ],
            change_count=facts.change_count,
        )


@strawberry.type(description="Why a run or a stage run is where it is.")
class Explanation:
    cause: Cause = strawberry.field(description="What decides.")
    summary: str = strawberry.field(description="The same in a sentence, for people.")
    because_of: list[StageRunLink] = strawberry.field(
        description="The stage runs which decide: those it waits for, which are at work, or which failed."
    )
    until: dt.datetime | None = strawberry.field(description="When the wait ends, if that is certain.")
    cache_miss: CacheMiss | None = strawberry.field(
        description="Of a stage run which has a cache and was executed: why nothing was taken from it."
    )

    @classmethod
    def of(cls, facts: Facts) -> Explanation:
        return cls(
            cause=facts.cause,
            summary=facts.summary,
            because_of=cast("list[StageRunLink]", list(facts.because_of)),
            until=facts.until,
            cache_miss=None if facts.cache_miss is None else CacheMiss.of(facts.cache_miss),
        )
