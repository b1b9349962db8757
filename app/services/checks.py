"""Checks of what clients send: each raises ``DomainError``; ``check_all`` reports all problems at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from app.domain.text import is_storable
from app.errors import DomainError, InvalidInput

TAGS_LIMIT = 50
TAG_LENGTH_LIMIT = 100


def check_all(*checks: Callable[[], object]) -> None:
    """Raises ``InvalidInput`` with the problems of all checks."""
    refuse([problem for check in checks for problem in problems_of(check)])


def problems_of(check: Callable[[], object]) -> Sequence[DomainError]:
    try:
        check()
    except InvalidInput as error:
        return error.problems
    except DomainError as error:
        return [error]
    return []


def refuse(problems: Sequence[DomainError]) -> None:
    """Raises ``InvalidInput`` if there are any."""
    if problems:
        raise InvalidInput(problems)


@contextlib.contextmanager
def problems_at(*path: str) -> Iterator[None]:
    """Reports problems of a stored object as problems of the input field that refers to it."""
    try:
        yield
    except InvalidInput as error:
        problems = [DomainError(problem.message, path=path, code=problem.code) for problem in error.problems]
        raise InvalidInput(problems) from error


def check_text(name: str, value: str | None, limit: int) -> None:
    """Refuses a text that is too long or can't be stored; ``name`` is its path, with dots."""
    if value is None:
        return
    path = tuple(name.split("."))
    if len(value) > limit:
        raise DomainError(f"{name}: at most {limit} characters are allowed, got {len(value)}", path=path)
    if not is_storable(value):
        raise DomainError(f"{name}: must not contain NUL or lone surrogates", path=path)


def check_name(name: str, limit: int) -> None:
    check_text("name", name, limit)
    if not name.strip():
        raise DomainError("name: must not be empty", path=("name",))


def check_tags(tags: Sequence[str]) -> None:
    """Refuses too many tags, and each tag that is empty, too long, given twice or can't be stored."""
    if len(tags) > TAGS_LIMIT:
        raise DomainError(f"tags: at most {TAGS_LIMIT} are allowed, got {len(tags)}", path=("tags",))
    check_all(*(partial(_check_tag, tags, index) for index in range(len(tags))))


def _check_tag(tags: Sequence[str], index: int) -> None:
    name, tag = f"tags.{index}", tags[index]
    check_text(name, tag, TAG_LENGTH_LIMIT)
    if not tag:
        raise DomainError(f"{name}: must not be empty", path=("tags", str(index)))
    if tag in tags[:index]:
        raise DomainError(f"{name}: {tag!r} is given twice", path=("tags", str(index)))


def check_object(name: str, value: Any) -> None:
    """Refuses a value that is neither null nor an object; ``name`` is its path, with dots."""
    if value is not None and not isinstance(value, dict):
        raise DomainError(f"{name}: must be an object", path=tuple(name.split(".")))
