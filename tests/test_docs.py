"""What the README promises is checked: its settings, its queries, its pipeline, its words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from graphql import FieldNode, OperationDefinitionNode, build_schema, parse, validate

from app.domain.parsing import parse_pipeline
from app.domain.statuses import FinishReason
from app.settings import settings_table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_settings_table_is_the_settings() -> None:
    rows = [
        f"| `{row.name}` | {f'`{row.default}`' if row.default else ''} | {row.description} |"
        for row in settings_table()
    ]
    table = "\n".join(["| variable | default | what it is |", "|---|---|---|", *rows])
    assert table in README


@pytest.mark.parametrize("document", blocks("graphql"))
def test_every_operation_is_valid(document: str) -> None:
    schema = build_schema((ROOT / "schema.graphql").read_text())
    assert validate(schema, parse(document)) == []


def test_the_answer_has_the_shape_of_its_query() -> None:
    query, answer = blocks("graphql")[0], json.loads(blocks("json")[0])
    (operation,) = parse(query).definitions
    assert isinstance(operation, OperationDefinitionNode)
    assert same_shape(operation, answer["data"])


def same_shape(node: OperationDefinitionNode | FieldNode, value: Any) -> bool:
    if isinstance(value, list):
        return all(same_shape(node, item) for item in value)
    if node.selection_set is None:
        return True
    fields = {
        field.name.value: field for field in node.selection_set.selections if isinstance(field, FieldNode)
    }
    return fields.keys() == value.keys() and all(same_shape(fields[name], value[name]) for name in fields)


@pytest.mark.parametrize("document", blocks("yaml"))
def test_the_pipeline_is_valid(document: str) -> None:
    assert parse_pipeline(yaml.safe_load(document)).stages


def test_every_way_to_end_is_explained() -> None:
    table = README.partition("### How a stage ends")[2].partition("## Settings")[0]
    explained = set(re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE))
    assert explained == set(FinishReason)


def test_every_file_named_exists() -> None:
    linked = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert linked
    assert [path for path in linked if not (ROOT / path).exists()] == []
