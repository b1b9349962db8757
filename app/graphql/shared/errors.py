"""Errors as clients see them: expected ones as data; unexpected ones are masked, and logged with an id."""

from __future__ import annotations

import hashlib
import logging
import traceback
import uuid
from collections.abc import Iterator
from typing import Any

import strawberry
from graphql import GraphQLError, ValueNode
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError
from strawberry.types.execution import ExecutionContext

from app.database.outages import is_outage
from app.errors import DomainError, InvalidInput
from app.graphql.shared.enums import ErrorCode
from app.graphql.shared.inputs import camel_case
from app.telemetry import log_context, log_ids_of

_NO_OPERATION = (MissingQueryError, CannotGetOperationTypeError)
"""The document does not contain the requested operation."""

logger = logging.getLogger(__name__)


@strawberry.type(description="An expected error of a mutation.")
class UserError:
    code: ErrorCode = strawberry.field(description="The kind of error, for programs.")
    message: str = strawberry.field(description="What is wrong and what to do, for people.")
    path: list[str] = strawberry.field(
        description="Names of the input fields that lead to the wrong one, outermost first; empty if it concerns none."
    )


def user_errors(error: DomainError) -> list[UserError]:
    """All problems of an expected failure."""
    problems = error.problems if isinstance(error, InvalidInput) else (error,)
    return [
        UserError(code=problem.code, message=problem.message, path=graph_path(problem.path))
        for problem in problems
    ]


def graph_path(path: tuple[str, ...]) -> list[str]:
    """``path`` with its first part, always an input field, in camelCase."""
    return [camel_case(path[0]), *path[1:]] if path else []


def public_error(error: GraphQLError, execution: ExecutionContext | None) -> GraphQLError:
    """``error`` as clients see it: with its code if it was expected, without details otherwise."""
    cause = error.original_error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    if cause is None or isinstance(cause, _NO_OPERATION):
        return as_bad_request(error) if is_of_the_request(error) else error
    if isinstance(cause, DomainError):
        details: dict[str, Any] = {"code": cause.code.value, "argumentPath": graph_path(cause.path)}
        return shown_as(error, cause.message, details)
    if is_outage(cause):
        logger.warning("an operation met an outage: %s", _names_of(cause))
        details = {"code": ErrorCode.UNAVAILABLE.value}
        return shown_as(error, "the database does not answer; try again", details)
    error_id = uuid.uuid4().hex
    log_unexpected(cause, error_id, execution)
    return shown_as(error, "Internal error", {"code": "INTERNAL", "errorId": error_id})


def is_of_the_request(error: GraphQLError) -> bool:
    """Whether the document or a variable is wrong, in general or as the argument of a field."""
    return error.path is None or any(isinstance(node, ValueNode) for node in error.nodes or ())


def as_bad_request(error: GraphQLError) -> GraphQLError:
    """``error`` with a code if it has none."""
    details = {"code": "BAD_REQUEST", **(error.extensions or {})}
    return shown_as(error, error.message, details)


def shown_as(error: GraphQLError, message: str, extensions: dict[str, Any]) -> GraphQLError:
    """``error`` at the same location, with another message and these extensions."""
    return GraphQLError(
        message, error.nodes, error.source, error.positions, error.path, extensions=extensions
    )


def log_unexpected(cause: BaseException, error_id: str, execution: ExecutionContext | None) -> None:
    """Logs the traceback and the operation, but nothing a client sent: no document, no variables and no messages of
    exceptions, because these may quote them.
    """
    query = (execution.query if execution else None) or ""
    with log_context(**log_ids_of(cause)):
        logger.error(
            "internal error %s in operation %s, document sha256 %s: %s\n%s",
            error_id,
            execution.operation_name if execution else None,
            hashlib.sha256(query.encode("utf-8", "replace")).hexdigest(),
            _names_of(cause),
            "".join(traceback.format_tb(cause.__traceback__)).rstrip(),
        )


def _names_of(cause: BaseException) -> str:
    return " caused by ".join(type(error).__qualname__ for error in chain_of(cause))


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
