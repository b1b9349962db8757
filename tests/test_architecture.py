"""The rules of the house that imports alone can't show: one door to a status, one circle of imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

APP = Path(__file__).parents[1] / "app"
DOOR = APP / "services" / "state"
TABLES_WITH_STATUS = {"pipelines", "pipeline_stages", "pipeline_runs", "stage_runs"}
GUARDED = {"status", "phase"}


def modules() -> list[Path]:
    return [path for path in APP.rglob("*.py") if "examples" not in path.parts and "ui" not in path.parts]


def writes_to(tree: ast.AST) -> set[str]:
    """Tables with a status that a module updates or inserts into."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    writing = [call for call in calls if name_of(call.func) in {"update", "insert"}]
    arguments = [call.args[0] for call in writing if call.args]
    owners = [call.func.value for call in writing if isinstance(call.func, ast.Attribute)]
    return {ast.unparse(node).rpartition(".")[2] for node in arguments + owners} & TABLES_WITH_STATUS


def name_of(function: ast.expr) -> str | None:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)


def written_names(tree: ast.AST) -> Iterator[str]:
    """Names that could be columns: keys of dictionaries, keywords of ``values`` and ``dict``, keys assigned to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            yield from (key.value for key in node.keys if isinstance(key, ast.Constant))
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            yield from [node.slice.value] if isinstance(node.slice, ast.Constant) else []
        elif isinstance(node, ast.Call) and name_of(node.func) in {"values", "dict"}:
            yield from (keyword.arg for keyword in node.keywords if keyword.arg)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = re.search(r"\bUPDATE\s+\w+\s+SET\b.*?\b(status|phase)\s*=", node.value, re.DOTALL)
            yield from found.groups() if found else ()


def writes_a_status(source: str) -> bool:
    tree = ast.parse(source)
    raw = any(
        isinstance(node, ast.Constant) and isinstance(node.value, str) and "UPDATE " in node.value
        for node in ast.walk(tree)
    )
    return bool(writes_to(tree) or raw) and bool(GUARDED & set(written_names(tree)))


def test_only_the_door_writes_a_status_or_a_phase() -> None:
    writers = {path for path in modules() if writes_a_status(path.read_text(encoding="utf-8"))}
    assert {path for path in writers if DOOR not in path.parents} == set()
    assert writers, "the rule no longer recognises the writers that exist"


@pytest.mark.parametrize(
    "source",
    [
        "sa.update(stage_runs).where(x).values(phase=to)",
        "sa.update(pipeline_runs).values({'status': to})",
        "rows = [{'status': 1}]\nconnection.execute(sa.insert(tables.stage_runs), rows)",
        "text('UPDATE pipelines SET name = 1, status = 2')",
        "stage_runs.update().values(phase=to)",
        "values['status'] = to\nsa.update(pipeline_runs).values(**values)",
    ],
)
def test_the_rule_of_the_door_sees_every_way_to_write(source: str) -> None:
    assert writes_a_status(source)


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("LocalStore", "storage/local.py"),
        ("LocalExecutor", "execution/executors/local.py"),
        ("StorageType.LOCAL", "storage/local.py"),
    ],
)
def test_only_the_wiring_names_an_implementation(name: str, home: str) -> None:
    allowed = {APP / home, APP / "wiring.py", APP / "database/tables/artifacts.py"}
    code = {path: ast.unparse(ast.parse(path.read_text(encoding="utf-8"))) for path in modules()}
    assert {path for path, source in code.items() if name in source} - allowed == set()


def test_with_type_imports_the_object_types_and_their_loaders_are_the_only_circle() -> None:
    graph = grimp.build_graph("app", exclude_type_checking_imports=False)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    [circle] = [group for group in strongly_connected(imports) if len(group) > 1]
    rooms = {name.removeprefix("app.graphql.") for name in circle}
    assert not {name for name in rooms if name.startswith(("app.", "serving.", "schema"))}
    assert {name.rpartition(".")[2] for name in rooms} <= {
        "types",
        "events",
        "attempts",
        "ending",
        "explanation",
        "loaders",
        "links",
        "info",
        "context",
    }


def strongly_connected(imports: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules that import each other, directly or not."""
    reachable = {name: reached_from(name, imports) for name in imports}
    groups: list[set[str]] = []
    for name, reached in reachable.items():
        if not any(name in group for group in groups):
            groups.append({name} | {other for other in reached if name in reachable.get(other, ())})
    return groups


def reached_from(start: str, imports: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in imports.get(waiting.pop(), ()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found
