"""Filters of lists: a field of a filter is one declaration of its type, its description and its SQL condition."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import sqlalchemy as sa
import strawberry

from app.database.reads.pages import Conditions
from app.graphql.shared.connections import NOT_GIVEN, given
from app.graphql.shared.ids import required_key
from app.graphql.shared.inputs import camel_case
from app.graphql.shared.storability import refuse_unstorable

Condition = Callable[[Any], sa.ColumnElement[bool]]
"""Makes the SQL condition for a value of a field."""

_DECLARATION = "filter field"


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What ``filter_field`` declares besides the GraphQL field."""

    condition: Condition
    id_of: str | None
    fixed: bool


def filter_field(
    description: str, condition: Condition, *, id_of: str | None = None, fixed: bool = False
) -> Any:
    """A field of a ``Filter``, optional for the client.

    With ``id_of`` its value is the global id of a node of that type, and ``condition`` gets the node's key. ``fixed``
    means that an existing row never begins or ceases to match.
    """
    declaration = Declaration(condition, id_of, fixed)
    return strawberry.field(default=NOT_GIVEN, description=description, metadata={_DECLARATION: declaration})


def filter_argument(plural: str) -> Any:
    """The argument ``filter`` of a list of these things."""
    return strawberry.argument(name="filter", description=f"Only {plural} that match.")


class Filter:
    """Base class of the inputs that narrow a list: every field that is given must hold."""

    def conditions(self, *, only_fixed: bool = False) -> Conditions:
        """The conditions of the fields that are given, or of the ``fixed`` ones among them.

        Raises ``InvalidInput`` for texts that can't be stored and ``NotFound`` for the id of another type.
        """
        values = self._given_values()
        declared = self._declarations()
        refuse_unstorable(
            {camel_case(name): value for name, value in values.items() if declared[name].id_of is None},
            "filter",
        )
        operands = {name: self.key(name) if declared[name].id_of else value for name, value in values.items()}
        return tuple(
            declared[name].condition(operand)
            for name, operand in operands.items()
            if declared[name].fixed or not only_fixed
        )

    def key(self, name: str) -> uuid.UUID | None:
        """The key in a field with ``id_of``; ``None`` if the field is not given."""
        node_id, type_name = given(getattr(self, name)), self._declarations()[name].id_of
        assert type_name is not None
        return None if node_id is None else required_key(node_id, type_name, "filter", camel_case(name))

    @classmethod
    @cache
    def _declarations(cls) -> Mapping[str, Declaration]:
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        return {field.name: field.metadata[_DECLARATION] for field in fields}

    def _given_values(self) -> dict[str, Any]:
        values = {name: given(getattr(self, name)) for name in self._declarations()}
        return {name: value for name, value in values.items() if value is not None}


def conditions_of(where: Filter | None) -> Conditions:
    """The conditions of an argument that may be left out or null."""
    chosen = given(where)
    return () if chosen is None else chosen.conditions()
