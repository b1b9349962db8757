"""Orders of lists: what the values of the enums of orders mean."""

from __future__ import annotations

import enum

import strawberry

from app.database.reads.pages import BY_NAME, BY_NAME_REVERSED, NEWEST_FIRST, OLDEST_FIRST, Order

BY_TIME = {"CREATED_AT_DESC": "Newest first.", "CREATED_AT_ASC": "Oldest first."}
BY_TIME_OR_NAME = {**BY_TIME, "NAME_ASC": "By name, A to Z.", "NAME_DESC": "By name, Z to A."}

_ORDERS = {
    "CREATED_AT_DESC": NEWEST_FIRST,
    "CREATED_AT_ASC": OLDEST_FIRST,
    "NAME_ASC": BY_NAME,
    "NAME_DESC": BY_NAME_REVERSED,
}

ORDER = strawberry.argument(description="Order of the list.")


def sort_of(order: enum.StrEnum) -> Order:
    """The columns to sort by for a value of an enum of orders."""
    return _ORDERS[order]
