"""The one error of this package: it imports nothing else of the product."""

from __future__ import annotations


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL can't be used; the message says why and what the operator can do, in one line."""
