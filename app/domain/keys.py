"""Keys of a configuration, each declared once: as a field of a frozen dataclass.

The metadata of a field says how its value is read, its name how it is spelled: ``max_delay`` is ``maxDelay``. All times
are in seconds, and users leave that out: ``timeout_seconds`` is ``timeout`` to them, ``timeoutSeconds`` in stored JSON.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from app.domain.checker import Checker, Path

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_KEY = "key"
_SECONDS = "_seconds"

Config = TypeVar("Config", bound="DataclassInstance")
Metadata = Mapping[str, "_Key"]


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class _Key:
    """How the value of a key comes from a user's input, and from stored JSON."""

    read: Callable[[Checker, Any, Path], Any]
    restore: Callable[[Any], Any] = _as_it_is
    is_stored: bool = True


def key(
    read: Callable[[Checker, Any, Path], Any],
    restore: Callable[[Any], Any] = _as_it_is,
    *,
    is_stored: bool = True,
) -> Metadata:
    """The metadata of a field that users may set.

    ``read`` takes the value out of a user's input, ``restore`` out of stored JSON. Without ``is_stored`` the execution
    spec of a stage run does not have the key.
    """
    return {_KEY: _Key(read, restore, is_stored)}


def number(low: float, high: float) -> Metadata:
    """A key for a number from ``low`` to ``high``."""
    return key(partial(Checker.number, low=low, high=high))


def whole(low: int, high: int) -> Metadata:
    """A key for a whole number from ``low`` to ``high``."""
    return key(partial(Checker.whole, low=low, high=high))


def one_of(choices: type[enum.StrEnum]) -> Metadata:
    """A key for one of the values of an enum."""
    return key(partial(Checker.choice, choices=choices))


def nested(config: type[DataclassInstance]) -> Metadata:
    """A key for an object whose own keys are the fields of ``config``."""
    return key(partial(_read_nested, config), partial(from_json, config))


def _read_nested(config: type[Config], checker: Checker, value: Any, path: Path) -> Config:
    return read_object(checker, config, value, path)


def spelling(field_name: str) -> str:
    """How users spell a field: ``max_delay`` is ``maxDelay``, ``timeout_seconds`` is ``timeout``."""
    return _camel_case(field_name.removesuffix(_SECONDS))


def _camel_case(field_name: str) -> str:
    first, *others = field_name.split("_")
    return first + "".join(map(str.title, others))


@cache
def _declared(config: type[DataclassInstance]) -> Mapping[str, tuple[Field[Any], _Key]]:
    """The keys of ``config`` by their spelling."""
    return {
        spelling(field.name): (field, field.metadata[_KEY])
        for field in fields(config)
        if _KEY in field.metadata
    }


def keys_of(config: type[DataclassInstance]) -> tuple[str, ...]:
    """The keys that users may set, in the order of the fields."""
    return tuple(_declared(config))


def read_object(
    checker: Checker, config: type[Config], value: Any, path: Path, around: Sequence[str] = ()
) -> Config:
    """The object at ``path`` as a ``config``; ``checker`` collects what is wrong with it.

    ``around``: the keys of the object that holds this one, see ``Checker.mapping``.
    """
    return read_keys(checker, config, checker.mapping(value, path, keys_of(config), around), path)


def read_keys(checker: Checker, config: type[Config], raw: Mapping[str, Any], path: Path) -> Config:
    """``read_object`` of an object whose keys have been checked. A key that is null or absent takes its default."""
    values = {
        field.name: declared.read(checker, raw.get(name), (*path, name))
        for name, (field, declared) in _declared(config).items()
        if raw.get(name) is not None or _is_required(field)
    }
    return config(**values)


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def to_json(config: DataclassInstance) -> dict[str, Any]:
    """The form in which a configuration is stored: all its values, none left to a default."""
    return {
        _camel_case(field.name): json_value(getattr(config, field.name))
        for field in fields(config)
        if _KEY not in field.metadata or field.metadata[_KEY].is_stored
    }


def from_json(config: type[Config], document: Mapping[str, Any], *, lenient: bool = False) -> Config:
    """The inverse of ``to_json``. A key that did not exist yet when the document was stored takes its default.

    ``lenient``: so does a value that can't be read, for which otherwise an exception is raised.
    """
    values = {}
    for field in fields(config):
        name = _camel_case(field.name)
        if name not in document:
            continue
        restore = field.metadata[_KEY].restore if _KEY in field.metadata else _as_it_is
        try:
            values[field.name] = restore(document[name])
        except (TypeError, ValueError, AttributeError):
            if not lenient:
                raise
    return config(**values)


def json_value(value: Any) -> Any:
    """The JSON form of a value: lists for tuples and sets, texts for members of enums."""
    if is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, frozenset):
        return sorted(map(json_value, value))
    if isinstance(value, tuple):
        return [json_value(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value
