"""Changes of a list of runs."""

from __future__ import annotations

import strawberry

from app.graphql.shared.links import RunLink


@strawberry.type(
    description="Runs that changed, each as it is now, and runs that were deleted. Several changes of a run become one."
)
class RunsChangedBatch:
    runs: list[RunLink] = strawberry.field(
        description="Changed runs that match the filter, oldest change first."
    )
    other_run_ids: list[strawberry.ID] = strawberry.field(
        description="Global ids of changed runs that do not match the filter now: remove them from the list."
    )
    deleted_run_ids: list[strawberry.ID] = strawberry.field(
        description="Global ids of deleted runs: remove them from the list. Of the filter only `pipelineId` "
        "applies to them, so "
        "some may never have matched: ignore those that the list does not contain."
    )
