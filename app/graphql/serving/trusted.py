"""Trusted documents: a server with a list of them executes no others.

The list is the JSON file that GraphQL Code Generator, Relay's compiler and others write when they build a client: an
object of documents by hash. Clients then send the hash instead of the document.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphql import GraphQLError

from app.errors import StartupError
from app.graphql.serving.documents import DocumentCache

_SHA256 = "sha256:"
_ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256"}
"""By the length of the hexadecimal hash. The hash only detects a damaged entry: the file itself is trusted."""
_SHOWN_HASH = len(_SHA256) + 12


@dataclass(frozen=True)
class TrustedDocuments:
    """The documents of a list."""

    texts: Mapping[str, str]
    """By hash, without a prefix."""

    def text_named_by(self, request: Mapping[str, Any]) -> str | None:
        """The document that a request names; an unknown identifier is returned as it is, and then refused.

        An identifier takes precedence over a text: some clients always send both.
        """
        identifier = identifier_of(request)
        if identifier is None:
            return request.get("query")
        return self.texts.get(identifier.removeprefix(_SHA256), identifier)


def identifier_of(request: Mapping[str, Any]) -> str | None:
    """``documentId`` as in GraphQL over HTTP, or the hash that Apollo Client and urql send in the extensions."""
    given = request.get("documentId")
    if given is None:
        extensions = request.get("extensions")
        persisted = extensions.get("persistedQuery") if isinstance(extensions, dict) else None
        given = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    return given if isinstance(given, str) else None


def untrusted() -> GraphQLError:
    """The error of a document that is not in the list."""
    return GraphQLError(
        "This server executes only the documents in its list of trusted documents, and this is not one of them.",
        extensions={"code": "DOCUMENT_NOT_TRUSTED"},
    )


def load_trusted_documents(path: Path, documents: DocumentCache) -> TrustedDocuments:
    """The list in the file; a ``StartupError`` names the entry that is wrong."""
    texts: dict[str, str] = {}
    for key, text in entries_of(path).items():
        try:
            texts[checked_hash(key, text)] = text
            check_document(text, documents)
        except ValueError as error:
            raise unusable(path, f"{key[:_SHOWN_HASH]}: {error}") from None
    return TrustedDocuments(texts)


def entries_of(path: Path) -> dict[str, Any]:
    """The JSON object in the file."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise unusable(path, f"{error.strerror}") from None
    except (ValueError, RecursionError):
        raise unusable(path, "this is not JSON") from None
    if not isinstance(entries, dict) or not entries:
        raise unusable(path, "this must be a JSON object of documents by hash, with at least one entry")
    return entries


def checked_hash(key: str, text: Any) -> str:
    """``key`` without its prefix, if it is a hash of the text."""
    if not isinstance(text, str):
        raise ValueError("the document must be a text")
    given = key.removeprefix(_SHA256)
    algorithm = _ALGORITHMS.get(len(given))
    if algorithm is None:
        raise ValueError("the key must be the hexadecimal SHA-256 of the document")
    if given != hashlib.new(algorithm, encoded(text), usedforsecurity=False).hexdigest():
        raise ValueError("the key is not the hash of the document; generate the file again")
    return given


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def check_document(text: str, documents: DocumentCache) -> None:
    """Raise ``ValueError`` if the document can't be parsed or is invalid."""
    try:
        errors = documents.validation_errors(documents.prepare(text))
    except GraphQLError as error:
        errors = [error]
    if errors:
        raise ValueError("; ".join(error.message for error in errors))


def unusable(path: Path, problem: str) -> StartupError:
    """The error of a file of trusted documents."""
    return StartupError(f"MLP_TRUSTED_DOCUMENTS={path}: {problem}")
