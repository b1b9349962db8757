"""Finds the names that a pickle would import by reading its instructions, without executing any.

They show what made a model, and obvious dangers. They do not prove that loading the file is safe.
"""

from __future__ import annotations

import io
import pickletools
import re
from pathlib import Path
from typing import Any

from app.inspection.facts import Inspection, Unreadable, clip
from app.inspection.sources import read_head

_LIMIT_BYTES = 8 << 20
_LIMIT_INSTRUCTIONS = 300_000
_MAX_IMPORTS = 100
_NAME = re.compile(r"[A-Za-z_][\w.]*")
_COMPUTED = "<computed>"

FRAMEWORK_OF_MODULE = {
    "sklearn": "scikit-learn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "torch": "pytorch",
    "tensorflow": "tensorflow",
    "keras": "keras",
    "statsmodels": "statsmodels",
    "transformers": "transformers",
    "numpy": "numpy",
    "pandas": "pandas",
}
_DANGEROUS = """
    builtins __builtin__ os posix nt subprocess sys runpy socket shutil importlib pty ctypes code codeop pdb bdb
    timeit commands multiprocessing webbrowser pickle _pickle marshal types http urllib requests asyncio threading
    signal tempfile pathlib zipimport pip operator functools
"""
_DANGEROUS_MODULES = frozenset(_DANGEROUS.split())
_PLAIN_TYPES = """
    set frozenset list dict tuple bytearray bytes complex slice range object str int float bool
"""
_HARMLESS = frozenset(
    f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _PLAIN_TYPES.split()
) | {"functools.partial", "pathlib.PosixPath", "pathlib.PurePosixPath", "operator.itemgetter"}


def inspect_pickle(path: Path) -> Inspection:
    """The facts about a pickle or joblib file, compressed or not."""
    content, compression = read_head(path, _LIMIT_BYTES)
    found = inspect_pickle_bytes(content, "pickle")
    if compression is not None:
        found.details["compression"] = compression
    return found


def inspect_pickle_bytes(content: bytes, file_format: str) -> Inspection:
    """``details`` holds the first 100 imports, dangerous imports, and whether all instructions could be read.

    joblib puts arrays between the instructions: there the reading ends, and ``complete`` is false.
    """
    if not content:
        raise Unreadable("it is empty")
    names, is_complete = _imports(content)
    if not names and not is_complete and content[:1] != b"\x80":
        raise Unreadable("it is not a pickle")
    is_joblib = any(name.startswith("joblib.numpy_pickle.") for name in names)
    details: dict[str, Any] = {
        "imports": [clip(name) for name in names[:_MAX_IMPORTS]],
        "dangerousImports": [clip(name) for name in names if _is_dangerous(name)][:_MAX_IMPORTS],
        "complete": is_complete,
    }
    algorithm, framework = _algorithm(names)
    if algorithm is not None:
        details["algorithm"] = clip(algorithm)
    return Inspection(
        format="joblib" if is_joblib and file_format == "pickle" else file_format,
        framework=framework,
        details=details,
    )


def _algorithm(names: list[str]) -> tuple[str | None, str | None]:
    """The framework of the first class. Arrays do not count: nearly every model has some."""
    frameworks = [(name, FRAMEWORK_OF_MODULE.get(name.split(".")[0])) for name in names]
    models = [pair for pair in frameworks if pair[1] not in (None, "numpy", "pandas")]
    for name, framework in models:
        class_name = name.rpartition(".")[2]
        if class_name[:1].isupper():
            return class_name, framework
    return None, next((framework for _, framework in models or frameworks if framework), None)


def _is_dangerous(name: str) -> bool:
    if name in _HARMLESS:
        return False
    return name == _COMPUTED or name.split(".")[0] in _DANGEROUS_MODULES


def _imports(content: bytes) -> tuple[list[str], bool]:
    """The imported names in order, and whether the last instruction was reached."""
    machine = _Machine()
    is_complete = False
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(content))):
            machine.step(opcode, argument)
            if count >= _LIMIT_INSTRUCTIONS:
                break
            is_complete = opcode.name == "STOP"
    except (ValueError, IndexError, KeyError, OverflowError):
        is_complete = False
    return list(machine.imports), is_complete


class _Machine:
    """The stack and the memo of an unpickler: known texts, and None for everything else."""

    _MARK = object()

    def __init__(self) -> None:
        self.imports: dict[str, None] = {}
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        name = opcode.name
        if name in ("GLOBAL", "INST"):
            self._import(*str(argument).split(" ", 1))
        elif name == "STACK_GLOBAL":
            self._import(*self._stack[-2:])
        if name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name.endswith("PUT"):
            self._memo[int(argument)] = self._stack[-1]
        elif name.endswith("GET"):
            self._stack.append(self._memo[int(argument)])
        elif name == "MARK":
            self._stack.append(self._MARK)
        elif name == "DUP":
            self._stack.append(self._stack[-1])
        else:
            self._pop(opcode)
            self._push(opcode, argument)

    def _pop(self, opcode: pickletools.OpcodeInfo) -> None:
        before = opcode.stack_before
        if pickletools.markobject in before:
            while self._stack.pop() is not self._MARK:
                pass
            before = before[: before.index(pickletools.markobject)]
        elif opcode.name == "POP" and not self._stack:
            return
        if before:
            del self._stack[-len(before) :]

    def _push(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        known = argument if isinstance(argument, str) and opcode.stack_before == [] else None
        self._stack.extend(known for _ in opcode.stack_after)

    def _import(self, module: Any = None, name: Any = None) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            self.imports[_COMPUTED] = None
        elif _NAME.fullmatch(module) and _NAME.fullmatch(name):
            self.imports[f"{module}.{name}"] = None
