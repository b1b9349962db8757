"""Changes of the list of runs."""

from __future__ import annotations

import strawberry

from app.graphql.shared.links import RunLink


@strawberry.type(
    description="Runs which changed, each as it is now, and runs which are gone. Several changes of a run become one."
)
class RunsChangedBatch:
    runs: list[RunLink] = strawberry.field(
        description="Changed runs which match the filter, oldest change first."
    )
    other_run_ids: list[strawberry.ID] = strawberry.field(
        description="Changed runs which no longer match the filter, or never did: take them off a list of matches."
    )
    deleted_run_ids: list[strawberry.ID] = strawberry.field(
        description="Runs which were deleted: take them off any list. Of a deleted run only the pipeline is still "
        "known, so the rest of the filter is not applied: ignore those which your list does not have."
    )
