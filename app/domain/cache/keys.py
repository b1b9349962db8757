"""The cache key of a stage: everything its outputs depend on, and what changed between two keys.

A *key* is a JSON object with one member per part. If two executions of a stage have keys with the same digest, the
results of one can be reused for the other. Values of environment variables are in it as digests only.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.cache_policy import CachePolicy
from app.domain.specs import StageConfig

KEY_FORMAT = 1
"""Raise it when the meaning of a key changes: then no older result is reused."""

_VALUE_LIMIT = 100


class KeyPart(enum.StrEnum):
    """A part of the key; the value is its name in the JSON object."""

    FORMAT = "format"
    VERSION = "version"
    COMMAND = "command"
    WORKDIR = "workdir"
    ENVIRONMENT = "env"
    PARAMS = "params"
    FILES = "files"
    INPUTS = "inputs"


_SHOWN = (KeyPart.FORMAT, KeyPart.VERSION, KeyPart.WORKDIR, KeyPart.PARAMS)
"""Parts whose values a summary shows. The values of the others are digests, or long like a command."""

_PREFIXES = {
    KeyPart.ENVIRONMENT: "env.",
    KeyPart.PARAMS: "params.",
    KeyPart.FILES: "file ",
    KeyPart.INPUTS: "input ",
}

JsonObject = Mapping[str, Any]


def cache_key(
    config: StageConfig, files: Mapping[str, str], inputs: Iterable[tuple[str, str, str]]
) -> dict[str, Any]:
    """The key of an attempt that executes this configuration, which has a cache.

    ``files`` are digests of the declared files by their paths, ``inputs`` are (dependency, path, digest).
    """
    parts = {
        KeyPart.FORMAT: KEY_FORMAT,
        KeyPart.VERSION: (config.cache or CachePolicy()).version,
        KeyPart.COMMAND: list(config.command),
        KeyPart.WORKDIR: config.workdir,
        KeyPart.ENVIRONMENT: {name: _sha256(value.encode()) for name, value in config.env.items()},
        KeyPart.PARAMS: config.params,
        KeyPart.FILES: dict(files),
        KeyPart.INPUTS: {f"{dependency}/{path}": digest for dependency, path, digest in inputs},
    }
    return {part.value: content for part, content in parts.items()}


def digest_of(key: JsonObject) -> str:
    """The digest of a key: 64 hexadecimal digits."""
    return _sha256(_canonical(key))


@dataclass(frozen=True, slots=True)
class KeyChange:
    """One difference between two keys; ``name`` is that of the parameter, variable, file or input."""

    part: KeyPart
    name: str | None
    summary: str
    """For example ``params.lr changed from 0.1 to 0.2``."""


def key_changes(before: JsonObject, after: JsonObject) -> list[KeyChange]:
    """All differences between two keys, part by part."""
    return [change for part in KeyPart for change in _changes_of(part, before, after)]


def _changes_of(part: KeyPart, before: JsonObject, after: JsonObject) -> Iterable[KeyChange]:
    old, new = _entries(before.get(part.value)), _entries(after.get(part.value))
    for name in sorted({*old, *new}, key=lambda name: name or ""):
        if name not in old:
            what = "was added"
        elif name not in new:
            what = "was removed"
        elif _canonical(old[name]) == _canonical(new[name]):
            continue
        else:
            what = "changed" + (f" from {_shown(old[name])} to {_shown(new[name])}" if part in _SHOWN else "")
        subject = part.value if name is None else _PREFIXES[part] + name
        yield KeyChange(part, name, f"{subject} {what}")


def _entries(content: Any) -> Mapping[str | None, Any]:
    """The values of a part by their names; a single value has the name None."""
    return content if isinstance(content, Mapping) else {None: content}


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_LIMIT else f"{text[:_VALUE_LIMIT]}..."


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
