"""Takes typed values out of untyped JSON or YAML, and collects every problem with its path."""

from __future__ import annotations

import difflib
import enum
import math
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from app.domain.text import LARGEST_NUMBER, NESTING_LIMIT, SMALLEST_NUMBER, clean_text, is_storable
from app.errors import DomainError, ErrorCode

RESERVED_ENV_PREFIX = "MLP_"
OWN_KEY_PREFIX = "x-"

VALUES_LIMIT = 1_000_000
"""More than any real pipeline has. A few YAML aliases can expand to more values than memory holds."""

_FOLDER_NAME_LIMIT_BYTES = 255
# The search for the word that was meant is slow: it is limited to few problems and few candidates.
_GUESSES_LIMIT = 50
_GUESS_AMONG_LIMIT = 200
_GUESS_LENGTH_LIMIT = 100

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_UNSAFE_IN_PATH = re.compile(r"[\x00-\x1f\x7f/\\\ud800-\udfff]")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

Path = tuple[str, ...]


class Checker:
    """Takes typed values out of an untyped tree and collects what is wrong, and where.

    After a problem the returned value has the right type, but no meaning.
    """

    def __init__(self) -> None:
        self.problems: list[DomainError] = []
        self._no_mappings: set[Path] = set()

    def problem(self, path: Path, message: str) -> None:
        """Add a problem, unless it lies in something that has been reported as no object at all."""
        if self._no_mappings and any(path[:end] in self._no_mappings for end in range(len(path) + 1)):
            return
        path = tuple(map(clean_text, path))
        where = ".".join(path)
        text = f"{where}: {message}" if where else message
        self.problems.append(DomainError(text, path=path, code=ErrorCode.INVALID_SPECIFICATION))

    def meant(self, word: str, known: Collection[str], likeness: float = 0.6) -> str | None:
        """The known word that ``word`` is probably a slip of; None also when the search would take too long."""
        crowded = len(self.problems) > _GUESSES_LIMIT or len(known) > _GUESS_AMONG_LIMIT
        if crowded or len(word) > _GUESS_LENGTH_LIMIT:
            return None
        return next(iter(difflib.get_close_matches(word, known, 1, likeness)), None)

    def mapping(
        self, value: Any, path: Path, known: Collection[str] = (), around: Collection[str] = ()
    ) -> Mapping[str, Any]:
        """An object. If ``known`` keys are given, any other key must begin with ``x-``.

        ``around``: the keys of the object that holds this one. A key that belongs there gets a message that says so.
        """
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            self.problem(path, f"must be an object, not {kind_of(value)}")
            self._no_mappings.add(path)
            return {}
        for key in value:
            if known and key not in known and not key.startswith(OWN_KEY_PREFIX):
                hint = self._key_hint(key, path, known, around)
                own = f"keys of your own begin with {OWN_KEY_PREFIX}"
                self.problem((*path, key), f"unknown key; {hint} ({own})")
        return value

    def _key_hint(self, key: str, path: Path, known: Collection[str], around: Collection[str]) -> str:
        if key not in around and (meant := self._key_meant(key, known)):
            return f"did you mean {meant!r}?"
        if meant := self._key_meant(key, around):
            return f"{meant!r} stands beside {path[-1]!r}, not in it"
        return f"the keys here are {', '.join(known)}"

    def _key_meant(self, key: str, known: Collection[str]) -> str | None:
        """Also finds keys with something added or left out at the end: ``timeoutSeconds``, ``mem``."""
        extended = (word for word in known if key and (word.startswith(key) or key.startswith(word)))
        return self.meant(key, known) or next(extended, None)

    def storable(self, value: Any, path: Path) -> None:
        """Refuse what can't be stored as JSON: NaN, NUL, lone surrogates, YAML dates, endless nesting."""
        todo: list[tuple[Any, Path]] = [(value, path)]
        count = 0
        while todo:
            item, where = todo.pop()
            count += 1
            if count > VALUES_LIMIT:
                self.problem(path, f"has more than {VALUES_LIMIT} values")
                return
            if len(where) > len(path) + NESTING_LIMIT:
                self.problem(path, f"is nested deeper than {NESTING_LIMIT} levels")
                return
            if isinstance(item, Mapping):
                todo += [(part, (*where, str(key))) for key, part in item.items()]
                self._storable_keys(item, where)
            elif isinstance(item, list | tuple):
                todo += [(part, (*where, str(index))) for index, part in enumerate(item)]
            elif why := _why_unstorable(item):
                self.problem(where, why)

    def _storable_keys(self, item: Mapping[Any, Any], where: Path) -> None:
        for key in item:
            if not isinstance(key, str):
                self.problem(where, f"its keys must be texts, not {kind_of(key)}; quote it")
            elif why := _why_unstorable(key):
                self.problem((*where, key), why)

    def text(self, value: Any, path: Path, *, limit: int = 255) -> str:
        """A text of one line with at least one visible character."""
        if not isinstance(value, str):
            self.problem(path, "is missing" if value is None else no_text(value))
            return ""
        if not value.strip():
            self.problem(path, "must be a non-empty text")
            return ""
        if len(value) > limit:
            self.problem(path, f"must have at most {limit} characters, has {len(value)}")
        if _CONTROL.search(value):
            self.problem(path, "must not contain control characters")
        return value

    def file_name(self, value: Any, path: Path) -> str:
        """A name that can also be the name of a folder."""
        name = self.text(value, path, limit=100)
        if name and (_UNSAFE_IN_PATH.search(name) or name != name.strip() or name[0] in ".-~"):
            self.problem(
                path,
                f"{name!r} is not safe as a folder name: no / or \\, no leading '.', '-' or '~', no outer space",
            )
        elif len(name.encode()) > _FOLDER_NAME_LIMIT_BYTES:
            self.problem(
                path, f"must have at most {_FOLDER_NAME_LIMIT_BYTES} bytes, has {len(name.encode())}"
            )
        return name

    def texts(self, value: Any, path: Path, *, of: str) -> tuple[str, ...]:
        """A list of texts without repetitions; ``of`` says in a message what they are: ``stage names``."""
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        if not is_list or not all(isinstance(item, str) for item in value):
            self.problem(path, f"must be a list of {of}")
            return ()
        return tuple(dict.fromkeys(value))

    def choice(self, value: Any, path: Path, *, choices: type[enum.StrEnum]) -> enum.StrEnum:
        """A member of ``choices``."""
        members = list(choices)
        if value not in members:
            self.problem(path, f"{value!r} is not one of {', '.join(members)}")
            return members[0]
        return choices(value)

    def number(self, value: Any, path: Path, *, low: float, high: float) -> float:
        """A finite number from ``low`` to ``high``."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.problem(path, f"must be a number, not {kind_of(value)}")
            return low
        if not low <= value <= high:
            self.problem(path, f"must be between {low:g} and {high:g}, is {value:g}")
        return float(value)

    def whole(self, value: Any, path: Path, *, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``."""
        if isinstance(value, bool) or not isinstance(value, int):
            self.problem(path, f"must be a whole number, not {kind_of(value)}")
            return low
        if not low <= value <= high:
            self.problem(path, f"must be between {low} and {high}, is {value}")
        return value

    def flag(self, value: Any, path: Path) -> bool:
        """True or false."""
        if not isinstance(value, bool):
            self.problem(path, f"must be true or false, not {kind_of(value)}")
            return False
        return value

    def env(self, value: Any, path: Path) -> dict[str, str]:
        """Environment variables; numbers become texts."""
        found = {}
        for name, content in self.mapping(value, path).items():
            if not _ENV_NAME.match(name):
                self.problem((*path, name), "is not a valid name of an environment variable")
            elif name.startswith(RESERVED_ENV_PREFIX):
                self.problem(
                    (*path, name), f"names beginning with {RESERVED_ENV_PREFIX} are set by the server"
                )
            elif isinstance(content, bool) or not isinstance(content, str | int | float):
                self.problem((*path, name), no_text(content))
            elif "\0" in str(content):
                self.problem((*path, name), "must not contain a NUL character")
            else:
                found[name] = str(content)
        return found

    def workdir(self, value: Any, path: Path) -> str:
        """The absolute path of a folder."""
        folder = self.text(value, path, limit=4096)
        if folder and not posixpath.isabs(folder):
            self.problem(
                path, f"must be an absolute path, is {folder!r} (`mlp run` resolves it against the YAML file)"
            )
        return folder


def _why_unstorable(value: Any) -> str | None:
    """Why ``jsonb`` can't hold a single value; None if it can."""
    if isinstance(value, str):
        return None if is_storable(value) else "contains a NUL character or a lone surrogate"
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        fits = SMALLEST_NUMBER <= value <= LARGEST_NUMBER
        return None if fits else "is a whole number of more than 64 bits; write it as a text"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} can't be stored as JSON; write it as a text"
    return f"must be plain JSON, not {kind_of(value)}; quote it"


def no_text(value: Any) -> str:
    """The message about a value that should be a text."""
    hint = "; quote it" if isinstance(value, bool | int | float) else ""
    return f"must be a text, not {kind_of(value)}{hint}"


def kind_of(value: Any) -> str:
    """What a message calls the type of a value, or a number itself."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), f"{value!r}")
