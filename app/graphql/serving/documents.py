"""A cache of parsed and validated documents: clients send the same few queries again and again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from graphql import DocumentNode, GraphQLError, GraphQLSchema, parse, specified_rules
from strawberry.schema.schema import validate_document

from app.graphql.serving.limits import MAX_SOURCE_LENGTH, MAX_TOKENS

PARSE_LIMITS: Mapping[str, Any] = {
    "max_lexical_tokens": MAX_TOKENS,
    "max_comments": MAX_TOKENS,
    "max_source_length": MAX_SOURCE_LENGTH,
}
_CACHED_DOCUMENTS = 256
_CACHED_LENGTH = 4000
"""Longer documents are parsed each time, so that clients can't fill the memory with them."""


@dataclass(eq=False)
class PreparedDocument:
    """A parsed document, and its validation errors once it has been validated."""

    document: DocumentNode
    errors: list[GraphQLError] | None = None


class DocumentCache:
    """The cached documents of one schema."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self.schema = schema
        self._cached = lru_cache(_CACHED_DOCUMENTS)(prepared)
        self._trusted: dict[str, PreparedDocument] | None = None

    def trust_only(self, queries: Iterable[str]) -> None:
        """Cache these documents permanently, and refuse all others."""
        self._trusted = {query: self.prepare(query) for query in queries}

    def accepts(self, query: str) -> bool:
        """Whether the document may be executed: it is trusted, or all documents are."""
        return self._trusted is None or query in self._trusted

    def prepare(self, query: str) -> PreparedDocument:
        """The parsed document, from the cache or new; raises ``GraphQLError``."""
        if self._trusted is not None:
            return self._trusted[query]
        return self._cached(query) if len(query) <= _CACHED_LENGTH else prepared(query)

    def validation_errors(self, prepared: PreparedDocument) -> list[GraphQLError]:
        """The validation errors of the document, which is validated once."""
        if prepared.errors is None:
            prepared.errors = validate_document(self.schema, prepared.document, tuple(specified_rules))
        return list(prepared.errors)


def prepared(query: str) -> PreparedDocument:
    return PreparedDocument(parse(query, **PARSE_LIMITS))
