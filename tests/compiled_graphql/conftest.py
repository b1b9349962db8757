"""The fixtures of the graph's tests."""

from tests.graphql.conftest import contexts, graph, make

__all__ = ["contexts", "graph", "make"]
