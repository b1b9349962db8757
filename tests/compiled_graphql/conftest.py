"""The graph of the product, as the tests of the graph have it."""

from tests.graphql.conftest import contexts, graph, make

__all__ = ["contexts", "graph", "make"]
