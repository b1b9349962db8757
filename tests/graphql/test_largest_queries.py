"""The largest queries that the limits allow cost the same number of statements for much data as for little."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import graphql as g
from graphql import GraphQLError, parse

from app.graphql.schema import Schema
from app.graphql.serving.documents import PARSE_LIMITS
from app.graphql.serving.limits import check_document
from tests.factories import Factory
from tests.graphql.conftest import Graph
from tests.graphql.test_every_field import SCHEMA, Ids, make_families, object_types, required
from tests.graphql.test_statement_counts import make_runs

ROOTS = ("runs", "pipelines", "artifacts", "datasets")
PAGE = 2
PATIENCE = 12
STATEMENTS_OF = {"explanation": 3}
"""It needs the stages, the queue, and what the workers can take; other fields need one at most."""


@dataclass(eq=False)
class Selection:
    """What a document asks of one object; ``below`` by the text of the field."""

    type: g.GraphQLObjectType
    depth: int
    below: dict[str, Selection] = field(default_factory=dict)

    def __str__(self) -> str:
        inner = " ".join(f"{text} {{ ... on {part.type.name} {part} }}" for text, part in self.below.items())
        return f"{{ __typename {inner} }}"

    def steps(self) -> list[tuple[str, g.GraphQLObjectType]]:
        """Each field with objects below, and one of their types."""
        return [
            (text_of(name, field_), type_)
            for name, field_ in sorted(self.type.fields.items())
            for type_ in object_types(field_.type)[:1]
            if not required(field_)
        ]


def text_of(name: str, field_: g.GraphQLField) -> str:
    return f"{name}(first: {PAGE})" if "first" in field_.args else name


def largest(schema: Schema, root: str, chosen: random.Random) -> tuple[str, int]:
    """A query grown field by field as long as it is legal, and how many statements it may take at most."""
    assert SCHEMA.query_type is not None
    [connection] = object_types(SCHEMA.query_type.fields[root].type)
    top = Selection(connection, 1)
    open_steps = [(top, *step) for step in top.steps()]
    allowed, refused_in_a_row = 2, 0
    while open_steps and refused_in_a_row < PATIENCE:
        open_steps.sort(key=lambda step: step[0].depth)
        parent, text, type_ = open_steps.pop(-chosen.randint(1, min(20, len(open_steps))))
        below = parent.below[text] = Selection(type_, parent.depth + 1)
        if is_legal(schema, document(root, top)):
            open_steps += [(below, *step) for step in below.steps()]
            allowed += STATEMENTS_OF.get(text, 1)
            refused_in_a_row = 0
        else:
            del parent.below[text]
            refused_in_a_row += 1
    return document(root, top), allowed


def document(root: str, top: Selection) -> str:
    return f"{{ {root}(first: {PAGE}) {top} }}"


def is_legal(schema: Schema, query: str) -> bool:
    try:
        check_document(schema._schema, parse(query, **PARSE_LIMITS), None, {})
    except GraphQLError:
        return False
    return True


async def test_the_largest_queries_cost_a_statement_for_each_of_their_fields_at_most(
    graph: Graph, make: Factory, statements: list[str]
) -> None:
    """Independent of the data. Levels that load the same kind of thing at the same moment share a statement."""
    chosen = random.Random("any order will do")
    queries = [largest(graph.schema, root, chosen) for root in ROOTS]
    for more in (1, 20):
        await make_families(make, Ids(), more)
        async with make.at_once():
            await make_runs(make, more)
        for query, allowed in queries:
            statements.clear()
            result = await graph.result(query)
            assert result.errors is None
            assert result.extensions is not None
            assert len(statements) == result.extensions["cost"]["sqlStatements"] <= allowed
