"""Makes text and JSON of any origin fit for PostgreSQL."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from app.errors import DomainError, ErrorCode, InvalidInput

NESTING_LIMIT = 64
SMALLEST_NUMBER, LARGEST_NUMBER = -(2**63), 2**64 - 1
"""The range of whole numbers that orjson can read: 64 bits, signed or unsigned."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def is_storable(value: str) -> bool:
    """Whether PostgreSQL can store the text: it refuses NUL and lone surrogates."""
    return _UNSTORABLE.search(value) is None


def clean_text(value: str) -> str:
    """The text with U+FFFD for each character that can't be stored."""
    return _UNSTORABLE.sub("\ufffd", value)


def clean_json(value: Any) -> Any:
    """``value`` in a form that every JSON reader accepts.

    Texts are clean. Numbers that JSON or 64 bits can't express become texts: "NaN", "Infinity", "-Infinity", and the
    digits of a whole number.

    Raises ``DomainError`` if it is nested deeper than 64 levels.
    """
    return _clean(value, NESTING_LIMIT)


def _clean(value: Any, levels: int) -> Any:
    if levels < 0:
        raise DomainError(f"nested deeper than {NESTING_LIMIT} levels", code=ErrorCode.INVALID_SPECIFICATION)
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return name_of_number(value)
    if isinstance(value, int) and not SMALLEST_NUMBER <= value <= LARGEST_NUMBER:
        return str(value)
    if isinstance(value, dict):
        return {clean_text(str(key)): _clean(item, levels - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item, levels - 1) for item in value]
    return value


NAMED_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def name_of_number(value: float) -> str:
    """The name of a number that JSON can't express: its key in ``NAMED_NUMBERS``."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def read_json_object(data: str | bytes, *, name: str, max_bytes: int) -> dict[str, Any]:
    """The clean JSON object in a file that a stage wrote; ``name`` is the name of the file in messages.

    Raises ``InvalidInput`` if it is too large, no JSON or no object.
    """
    if len(data) > max_bytes:
        raise _refusal(f"{name}: larger than {max_bytes} bytes")
    try:
        found = clean_json(json.loads(data))
    except UnicodeDecodeError as error:
        raise _refusal(f"{name}: not UTF-8 text") from error
    except RecursionError as error:
        raise _refusal(f"{name}: nested deeper than {NESTING_LIMIT} levels") from error
    except ValueError as error:
        raise _refusal(f"{name}: not JSON: {error}") from error
    except DomainError as error:
        raise _refusal(f"{name}: {error.message}") from error
    if not isinstance(found, dict):
        raise _refusal(f"{name}: must be a JSON object")
    return found


def _refusal(message: str) -> InvalidInput:
    return InvalidInput([DomainError(message, code=ErrorCode.INVALID_SPECIFICATION)])
