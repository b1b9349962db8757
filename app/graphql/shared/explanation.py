"""Why a run or a stage run waits, is executed, or ended."""

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
    "Why a run or a stage run waits, is executed, or ended.",
    {
        "WAITS_FOR_STAGES": "Stages it depends on have not ended.",
        "WAITS_FOR_RUN": "Its run is still in the queue.",
        "WAITS_FOR_RETRY": "Its last attempt failed; the next one starts at `until` at the earliest.",
        "WAITS_FOR_OTHER_RUNS": "As many runs of its pipeline or with its concurrency key are RUNNING as are allowed.",
        "WAITS_FOR_RUN_LIMIT": "As many stages of its run are active as are allowed.",
        "WAITS_FOR_CAPACITY": "Nothing it depends on is missing; it waits for a worker with room.",
        "WAITS_FOR_WORKER": "No worker is alive.",
        "AT_WORK": "It is being executed.",
        "STOPPING": "It has been asked to stop; its processes get time to end.",
        "SUCCEEDED": "It succeeded.",
        "TAKEN_OVER": "It reuses the results of an earlier run.",
        "FAILED": "It failed, and no further attempt follows.",
        "SKIPPED": "A stage it depends on did not succeed.",
        "CANCELLED": "The run was cancelled, or another stage failed and the run is fail-fast.",
    },
)

describe(
    KeyPart,
    "The parts of the cache key of a stage: results are reused while none of them changes.",
    {
        "FORMAT": "The format of cache keys in this version of the server.",
        "VERSION": "`cache.version` of the stage.",
        "COMMAND": "Its command.",
        "WORKDIR": "Its working folder.",
        "ENVIRONMENT": "The environment variables that the pipeline declares.",
        "PARAMS": "Its parameters, merged from the pipeline, the stage and the run.",
        "FILES": "The content of its files: `cache.files`, or the files its command names.",
        "INPUTS": "The content of the outputs of the stages it depends on.",
    },
)
describe(
    MissReason,
    "Why no result was reused from the cache.",
    {
        "FIRST": "No execution of the stage has completed with a cache key yet.",
        "CHANGED": "Something has changed since the last execution, and no earlier one has the same key.",
        "OUTPUTS_GONE": "An execution has the same key, but some of its outputs no longer exist.",
        "FILES_CHANGED_MEANWHILE": "Files changed while the execution with the same key ran, so its results are "
        "not reused.",
        "BYPASSED": "The run was started with `cache: false` in `runConfig`.",
    },
)


@strawberry.type(description="Something that has changed since the last execution of the stage.")
class CacheKeyChange:
    part: KeyPart = strawberry.field(description="The part of the cache key that changed.")
    name: str | None = strawberry.field(
        description="Name of the parameter, variable, file or input (`<stage>/<path>`); null if the part has no names."
    )
    summary: str = strawberry.field(
        description="The change in a few words, for people. Values of environment variables are not shown."
    )


@strawberry.type(description="Why a stage with a cache was executed.")
class CacheMiss:
    reason: MissReason = strawberry.field(description="Why no result was reused.")
    changes: list[CacheKeyChange] = strawberry.field(
        description="The changes since the last execution; at most 20."
    )
    change_count: int = strawberry.field(description="Number of changes, including those not listed.")

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


@strawberry.type(description="Why a run or a stage run waits, is executed, or ended.")
class Explanation:
    cause: Cause = strawberry.field(description="The reason, for programs.")
    summary: str = strawberry.field(description="The reason in a sentence or two, for people.")
    because_of: list[StageRunLink] = strawberry.field(
        description="The stage runs behind the reason: those it waits for, that are active, or that failed."
    )
    until: dt.datetime | None = strawberry.field(description="When the wait ends; null unless that is known.")
    cache_miss: CacheMiss | None = strawberry.field(
        description="Why no result was reused; null unless a stage run with a cache was executed."
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
