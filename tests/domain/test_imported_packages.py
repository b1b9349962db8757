"""The domain imports no library but the one that reads cron expressions."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import app.domain

SOURCES = sorted(Path(app.domain.__file__).parent.rglob("*.py"))


def imported_packages(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_the_domain_imports_the_standard_library_and_cronsim_only() -> None:
    found = {(source.name, name) for source in SOURCES for name in imported_packages(source)}
    foreign = {pair for pair in found if pair[1] not in sys.stdlib_module_names | {"app", "_typeshed"}}
    assert foreign == {("cron.py", "cronsim")}
