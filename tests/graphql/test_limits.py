"""Queries that exceed a limit are refused quickly, before any statement."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from graphql import get_introspection_query, parse

from app.graphql.schema import Schema
from app.graphql.serving import operation
from app.graphql.serving.documents import PARSE_LIMITS
from app.graphql.serving.limits import MAX_COST, MAX_DEPTH, check_document
from tests.factories import Factory
from tests.graphql.conftest import Graph
from tests.graphql.test_statement_counts import NESTED


def cost(schema: Schema, query: str, **variables: Any) -> int:
    return check_document(schema._schema, parse(query, **PARSE_LIMITS), None, variables)


@pytest.mark.parametrize(
    ("query", "variables", "expected"),
    [
        ("{ runs(first: 3) { nodes { id } } }", {}, 1 + 3),
        ("{ runs { nodes { id } } }", {}, 1 + 50),
        ("{ runs(first: null) { nodes { id } } }", {}, 1 + 50),
        ("{ runs(last: 7) { nodes { id } } }", {}, 1 + 7),
        ("query($n: Int) { runs(first: $n) { nodes { id } } }", {"n": 4}, 1 + 4),
        ("query($n: Int = 6) { runs(first: $n) { nodes { id } } }", {}, 1 + 6),
        ("query($n: Int = 6) { runs(first: $n) { nodes { id } } }", {"n": None}, 1 + 50),
        ("{ runs(first: 3) { edges { node { id } } pageInfo { endCursor } } }", {}, 1 + 3 * 2 + 1),
        ("{ runs(first: 3) { nodes { pipeline { id } stageRuns { id } } } }", {}, 1 + 3 * (1 + 1 + 5)),
        ("{ runs(first: 2) { nodes { artifacts { nodes { id } } } } }", {}, 1 + 2 * (1 + 1 + 10)),
        ("{ runs(first: 2) { ...f ...f } } fragment f on RunConnection { nodes { id } }", {}, 1 + 2 * 2),
        ("{ run(id: 1) { stageRuns { resourceSamples(maxPoints: 9) { at } } } }", {}, 1 + 5 * (1 + 9)),
        ("{ stageRun(id: 1) { log { text } } }", {}, 1 + 1 + 64),
        (
            "query($n: Int) { run(id: 1) { stageRuns { log(maxBytes: $n) { text } } } }",
            {"n": 2048},
            1 + 5 * (1 + 1 + 2),
        ),
        ("query($i: [ID!]!) { nodes(ids: $i) { id } }", {"i": ["a", "b"]}, 2),
        ('{ nodes(ids: ["a", "b", "c"]) { id } }', {}, 3),
        ("{ systemStatus { workers { worker { pid } } } }", {}, 1 + 5 * 2),
        ("mutation { startRun(input: {pipelineId: 1}) { run { stageRuns { id } } } }", {}, 1 + 1 + 5),
        (get_introspection_query(), {}, 0),
    ],
)
def test_the_cost_is_the_number_of_objects(
    schema: Schema, query: str, variables: dict[str, Any], expected: int
) -> None:
    assert cost(schema, query, **variables) == expected


def test_a_page_of_fifty_runs_with_everything_they_made_is_affordable(schema: Schema) -> None:
    assert cost(schema, NESTED, first=50) < MAX_COST


async def test_a_query_that_costs_too_much_names_its_costliest_list(
    graph: Graph, statements: list[str]
) -> None:
    error = await graph.refusal(NESTED.replace("artifacts {", "artifacts(first: 200) {"), first=50)
    assert error["extensions"]["code"] == "QUERY_TOO_EXPENSIVE"
    assert error["extensions"]["costliestField"] == "runs.nodes.stageRuns.artifacts.nodes"
    assert error["extensions"]["cost"] > error["extensions"]["limit"] == MAX_COST
    assert statements == []


async def test_a_query_as_deep_as_allowed_passes_and_one_level_more_is_refused(graph: Graph) -> None:
    assert await graph.data(query_of_depth(MAX_DEPTH)) == {"runs": {"nodes": []}}
    error = await graph.refusal(query_of_depth(MAX_DEPTH + 1))
    assert error["message"] == f"The query is {MAX_DEPTH + 1} levels deep; at most {MAX_DEPTH} are allowed."


def query_of_depth(depth: int) -> str:
    """A query whose innermost field is at this level."""
    fields = ["runs(first: 1)", "nodes", *("pipeline", "latestRun") * depth][: depth - 1]
    return "{ " + " { ".join([*fields, "id"]) + " }" * depth


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("{ " + "runs { nodes { pipeline { " * 5 + "id" + " } } }" * 5 + " }", "16 levels deep"),
        ("{ " + " ".join(f"a{n}: systemStatus {{ version }}" for n in range(31)) + " }", "31 aliases"),
        ("{ __schema { " + " ".join(f"a{n}: types {{ name }}" for n in range(31)) + " } }", "31 aliases"),
        (" ".join(f"query q{n} {{ systemStatus {{ version }} }}" for n in range(6)), "6 operations"),
        ("{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }", "contains itself"),
        ("{ " + "a { " * 400 + "a" + " }" * 400 + " }", "nested too deeply"),
        ("{ " + "id " * 2100 + "}", "2000 tokens"),
        ("{ systemStatus { version } } #" + "x" * 20_000, "20000"),
    ],
)
async def test_hostile_documents_are_refused(graph: Graph, query: str, message: str) -> None:
    result = await graph.result(query)
    assert result.data is None
    assert result.errors is not None
    assert message in result.errors[0].message


async def test_fragments_that_double_with_each_level_are_refused_at_once(graph: Graph) -> None:
    levels = 90
    bomb = "{ ...f0 } " + " ".join(
        f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(levels)
    )
    started = time.perf_counter()
    error = await graph.refusal(f"{bomb} fragment f{levels} on Query {{ runs {{ nodes {{ id }} }} }}")
    assert error["extensions"]["code"] == "QUERY_TOO_EXPENSIVE"
    assert time.perf_counter() - started < 1


async def test_the_introspection_of_graphiql_is_within_the_limits(graph: Graph) -> None:
    data = await graph.data(get_introspection_query(input_value_deprecation=True))
    assert data["__schema"]["queryType"]["name"] == "Query"


async def test_a_query_that_takes_too_long_times_out(
    graph: Graph, make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation, "TIMEOUT_SECONDS", 0.05)
    slots = [graph.contexts.read_slots.acquire() for _ in range(8)]
    await asyncio.gather(*slots)
    error = await graph.refusal("{ runs { nodes { id } } }")
    assert error["extensions"] == {"code": "TIMEOUT"}
    for _ in slots:
        graph.contexts.read_slots.release()
    monkeypatch.undo()
    assert (await graph.data("{ runs { nodes { id } } }")) == {"runs": {"nodes": []}}
