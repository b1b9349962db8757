"""Unexpected failures tell clients nothing but an id, and the log nothing that a client sent."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.graphql.conftest import Graph

QUERY = """query Findings($tag: String!) {
  runs(filter: {tags: [$tag], environment: "literal-canary"}) { nodes { id } }
}"""

MESSAGE_WITH_A_SECRET = "postgresql://user:password-canary@host refused"


def break_database(monkeypatch: pytest.MonkeyPatch, graph: Graph, error: Exception) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr(type(graph.contexts.engine), "connect", fail)


@pytest.fixture
def broken_graph(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> Graph:
    """A graph whose database connections fail unexpectedly, with a secret in the message."""
    break_database(monkeypatch, graph, RuntimeError(MESSAGE_WITH_A_SECRET))
    return graph


async def test_an_outage_of_the_database_has_the_code_unavailable(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    break_database(monkeypatch, graph, ConnectionRefusedError(MESSAGE_WITH_A_SECRET))
    error = await graph.refusal(QUERY, tag="variable-canary")
    assert (error["message"], error["path"]) == ("the database does not answer; try again", ["runs"])
    assert error["extensions"] == {"code": "UNAVAILABLE"}
    assert "ConnectionRefusedError" in caplog.text
    assert "canary" not in caplog.text


async def test_an_unexpected_error_is_masked(broken_graph: Graph) -> None:
    error = await broken_graph.refusal(QUERY, tag="variable-canary")
    assert error["message"] == "Internal error"
    assert error["path"] == ["runs"]
    assert error["extensions"]["code"] == "INTERNAL"
    assert len(error["extensions"]["errorId"]) == 32


async def test_the_log_identifies_the_operation_without_what_the_client_sent(
    broken_graph: Graph, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        error = await broken_graph.refusal(QUERY, tag="variable-canary")
    assert error["extensions"]["errorId"] in caplog.text
    assert "Findings" in caplog.text
    assert "RuntimeError" in caplog.text
    assert "rows.py" in caplog.text
    for canary in ("variable-canary", "literal-canary", "password-canary"):
        assert canary not in caplog.text


async def test_a_wrong_variable_is_explained_to_the_client_and_not_logged(
    graph: Graph, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        error = await graph.refusal("query($n: Int!) { runs(first: $n) { nodes { id } } }", n="canary")
    assert "$n" in error["message"]
    assert "canary" not in caplog.text


async def test_a_null_that_an_argument_does_not_allow_is_an_error_of_its_field(graph: Graph) -> None:
    query = "query($order: RunOrder = CREATED_AT_ASC) { runs(orderBy: $order) { totalCount } }"
    error = await graph.refusal(query, order=None)
    assert (error["path"], error["extensions"]) == (["runs"], {"code": "BAD_REQUEST"})


async def test_validation_errors_reach_the_client_every_time(graph: Graph) -> None:
    for _ in range(2):
        error = await graph.refusal("{ nothingLikeThis }")
        assert "nothingLikeThis" in error["message"]
