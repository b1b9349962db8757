"""What all mutations have in common: one input, and a payload which holds expected errors as data."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import strawberry

from app.errors import DomainError
from app.graphql.shared.errors import user_errors
from app.graphql.shared.inputs import refuse_unstorable

INPUT = strawberry.argument(name="input", description="What to do.")

_Payload = TypeVar("_Payload")
_Arguments = ParamSpec("_Arguments")
_Verb = Callable[_Arguments, Coroutine[Any, Any, _Payload]]


def none_of(what: str) -> Any:
    return strawberry.field(default=None, description=f"{what}; null if there are errors.")


def no_errors() -> Any:
    return strawberry.field(
        default_factory=list, description="What was wrong; nothing was changed if there is any."
    )


def expected_errors(verb: _Verb[_Arguments, _Payload]) -> _Verb[_Arguments, _Payload]:
    """The resolver of a mutation, whose ``DomainError`` becomes a payload of the type which it answers with."""

    @functools.wraps(verb)
    async def resolve(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Payload:
        try:
            return await verb(*args, **kwargs)
        except DomainError as error:
            payload: Callable[..., _Payload] = typing.get_type_hints(verb)["return"]
            return payload(errors=user_errors(error))

    return resolve


def storable(draft: dict[str, Any]) -> dict[str, Any]:
    """``draft``, unless PostgreSQL can't store something in it."""
    refuse_unstorable(draft)
    return draft
