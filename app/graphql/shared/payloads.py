"""What all mutations have in common: one input, and a payload that holds expected errors as data."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import strawberry

from app.errors import DomainError
from app.graphql.shared.errors import UserError, user_errors

INPUT = strawberry.argument(name="input", description="The input of the mutation.")


@strawberry.type(description="Outcome of a mutation.")
class Payload:
    """Base class of the payloads of all mutations."""

    errors: list[UserError] = strawberry.field(
        default_factory=list, description="The expected errors; if there are any, nothing has changed."
    )


_Payload = TypeVar("_Payload", bound=Payload)
_Arguments = ParamSpec("_Arguments")
_Verb = Callable[_Arguments, Coroutine[Any, Any, _Payload]]


def null_on_error(what: str) -> Any:
    """The field of a payload that holds the result."""
    return strawberry.field(default=None, description=f"{what}; null if there are errors.")


def mutation(description: str) -> Callable[[_Verb[_Arguments, _Payload]], Any]:
    """Makes a resolver a mutation whose ``DomainError`` becomes a payload with errors."""

    def decorate(verb: _Verb[_Arguments, _Payload]) -> Any:
        return strawberry.mutation(resolver=errors_as_data(verb), description=description)

    return decorate


def errors_as_data(verb: _Verb[_Arguments, _Payload]) -> _Verb[_Arguments, _Payload]:
    @functools.wraps(verb)
    async def resolve(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Payload:
        try:
            return await verb(*args, **kwargs)
        except DomainError as error:
            payload: Callable[..., _Payload] = typing.get_type_hints(verb)["return"]
            return payload(errors=user_errors(error))

    return resolve
