"""Reads YAML 1.2, with the line and column of each value.

PyYAML reads YAML 1.1, in which the key ``on`` is a boolean, ``1e-3`` a text and ``12:30`` the number 750, and the last
of two equal keys wins silently.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str, ...]

NODES_LIMIT = 100_000
DEPTH_LIMIT = 64

_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOLEAN = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INTEGER = re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NO_NUMBER = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")
_MERGE = re.compile(r"<<\Z")


@dataclass(frozen=True, slots=True)
class Location:
    """Line and column, both from 1."""

    line: int
    column: int


class YamlError(Exception):
    """The text is not YAML that can be stored as JSON; ``location`` is where, if known."""

    def __init__(self, message: str, location: Location | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.location = location


@dataclass(frozen=True)
class Document:
    """The plain value of a text, and the location of each value in it by its path (keys and list indices)."""

    value: Any
    locations: Mapping[Path, Location]


class _Loader(yaml.SafeLoader):
    """Recognises the types of plain scalars by the core schema of YAML 1.2, and merge keys."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's way


for _name, _pattern, _first in (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", _BOOLEAN, list("tTfF")),
    ("int", _INTEGER, list("-+0123456789")),
    ("float", _NUMBER, list("-+.0123456789")),
    ("not-a-number", _NO_NUMBER, list("-+.")),
    ("merge", _MERGE, ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, _first)


def parse(text: str) -> Document:
    """The one document in ``text``; raises ``YamlError``."""
    try:
        root = yaml.compose(text, _Loader)
    except yaml.reader.ReaderError as error:
        raise YamlError("control characters are not allowed", _location_of(text, error.position)) from None
    except yaml.MarkedYAMLError as error:
        raise YamlError(_explained(error), _mark(error.problem_mark)) from None
    except RecursionError:
        raise YamlError(f"nested deeper than {DEPTH_LIMIT} levels") from None
    converter = _Converter()
    return Document(None if root is None else converter.value(root, ()), converter.locations)


def parse_value(text: str) -> Any:
    """The plain value of a short text such as ``0.1``, ``[1, 2]`` or ``warm start``; raises ``YamlError``."""
    return parse(text).value


@dataclass
class _Converter:
    """Turns nodes into plain values. Aliases are expanded, because JSON has none; the number of values is limited."""

    locations: dict[Path, Location] = field(default_factory=dict)
    _count: int = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self._count += 1
        if self._count > NODES_LIMIT:
            raise YamlError(f"more than {NODES_LIMIT} values, counting each use of an alias", _start(node))
        if len(path) > DEPTH_LIMIT:
            raise YamlError(f"nested deeper than {DEPTH_LIMIT} levels", _start(node))
        self.locations.setdefault(path, _start(node))
        match node:
            case yaml.MappingNode() if node.tag == _TAG + "map":
                return self._mapping(node, path)
            case yaml.SequenceNode() if node.tag == _TAG + "seq":
                return [self.value(item, (*path, str(index))) for index, item in enumerate(node.value)]
            case yaml.ScalarNode():
                return _scalar(node)
        raise _unknown_tag(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        inherited: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                inherited = {**self._merged(value_node, path), **inherited}
                continue
            key = _key(key_node)
            if key in found:
                raise YamlError(f"the key {key!r} is given twice", _start(key_node))
            self.locations[*path, key] = _start(key_node)
            found[key] = self.value(value_node, (*path, key))
        return {**inherited, **found}

    def _merged(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        """The values of ``<<``: a mapping, or a list of mappings of which the first has precedence."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                raise YamlError("<< needs a mapping, or a list of them", _start(node))
            merged = {**self.value(source, path), **merged}
        return merged


def _key(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise YamlError("a key must be a text", _start(node))
    if node.tag != _TAG + "str":
        raise YamlError(f"the key {node.value} is not a text; quote it", _start(node))
    return str(node.value)


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    match node.tag.removeprefix(_TAG):
        case "str" | "merge":
            return text
        case "null":
            return None
        case "bool" if _BOOLEAN.match(text):
            return text.lower() == "true"
        case "int" if _INTEGER.match(text):
            return _integer(node)
        case "float" if _NUMBER.match(text) and math.isfinite(number := float(text)):
            return number
        case "float" | "not-a-number":
            raise YamlError(f"{text} can't be stored as JSON; quote it to pass it as a text", _start(node))
    raise _unknown_tag(node)


def _integer(node: yaml.ScalarNode) -> int:
    base = {"0o": 8, "0x": 16}.get(node.value[:2], 10)
    try:
        return int(node.value, base)
    except ValueError:
        raise YamlError("the number has too many digits", _start(node)) from None


def _unknown_tag(node: yaml.Node) -> YamlError:
    return YamlError(f"the tag {node.tag.replace(_TAG, '!!')} can't be used here", _start(node))


def _explained(error: yaml.MarkedYAMLError) -> str:
    return ", ".join(filter(None, (error.context, error.problem))) or "this is not YAML"


def _start(node: yaml.Node) -> Location:
    return Location(node.start_mark.line + 1, node.start_mark.column + 1)


def _mark(mark: yaml.Mark | None) -> Location | None:
    return None if mark is None else Location(mark.line + 1, mark.column + 1)


def _location_of(text: str, position: int) -> Location:
    before = text[:position]
    return Location(before.count("\n") + 1, position - before.rfind("\n"))


def ancestors(path: Path) -> Iterator[Path]:
    """The path itself, then its parents up to the root."""
    return (path[:length] for length in range(len(path), -1, -1))
