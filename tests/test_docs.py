"""What the README promises is checked: its settings, its queries, its pipeline, its words."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from graphql import FieldNode, OperationDefinitionNode, build_schema, parse, validate

from app.domain import causes
from app.domain.manifest import DATASET_KEYS, ENTRY_KEYS, MODEL_KEYS, parse_manifest
from app.domain.outcomes import AttemptOutcome, explain
from app.domain.parsing import parse_pipeline
from app.domain.statuses import FinishReason, StageStatus
from app.errors import ErrorCode
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


def test_the_manifest_is_valid_and_shows_every_key() -> None:
    (text,) = re.findall(
        r"```json\n(.*?)```", section("The contract between a stage and the server"), re.DOTALL
    )
    model, dataset = json.loads(text)["artifacts"]
    assert set(parse_manifest(text, [model["path"], dataset["path"]]).entries) == {
        model["path"],
        dataset["path"],
    }
    assert {*model, *dataset} == set(ENTRY_KEYS)
    assert set(model["model"]) == set(MODEL_KEYS)
    assert set(dataset["dataset"]) == set(DATASET_KEYS)


SENTENCES: dict[Callable[..., str], tuple[FinishReason, tuple[Any, ...]]] = {
    causes.cancelled: (FinishReason.CANCELLED, ("ada", "too slow")),
    causes.stopped_fail_fast: (FinishReason.CANCELLED, ("train",)),
    causes.upstream_failed: (FinishReason.UPSTREAM_FAILED, ("train", StageStatus.FAILED)),
    causes.over_time: (FinishReason.TIMED_OUT, (60,)),
    causes.waited_too_long: (FinishReason.TIMED_OUT, (60,)),
    causes.too_large: (FinishReason.START_FAILED, ("8 CPUs", "4 CPUs")),
}
"""The sentences which end stages without an attempt of theirs, and with which reason."""

LOSSES = {causes.host_is_silent, causes.runner_was_stopped, causes.runner_vanished, causes.end_is_unknown}
"""Those which follow on "the attempt was lost"."""


def section(title: str) -> str:
    return README.partition(f"### {title}\n")[2].partition("\n##")[0]


def rows(title: str) -> list[list[str]]:
    """The table of a section without its two lines of head; an empty first cell repeats the one above."""
    table: list[list[str]] = []
    for line in re.findall(r"^\| (.*) \|$", section(title), re.MULTILINE)[1:]:
        cells = [cell.strip() for cell in f" {line} ".split("|")]
        table.append([cells[0] or table[-1][0], *cells[1:]])
    return table


def told(reason: FinishReason, sentence: str) -> bool:
    """Whether the table has a row of this reason whose message, with anything for each ``…``, is the sentence."""
    patterns = [cells[2].strip("`") for cells in rows("How a stage ends") if cells[0] == f"`{reason}`"]
    return any(
        re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), sentence) is not None
        for pattern in patterns
    )


def test_every_reason_to_end_and_what_to_do_is_listed() -> None:
    table = rows("How a stage ends")
    assert {cells[0].strip("`") for cells in table} == set(FinishReason)
    assert all(cells[3] for cells in table if cells[1] != "COMPLETED")


@pytest.mark.parametrize(
    "reason", sorted(set(FinishReason) - {FinishReason.CANCELLED, FinishReason.UPSTREAM_FAILED})
)
def test_the_message_of_every_end_of_an_attempt_is_listed(reason: FinishReason) -> None:
    sentence = explain(AttemptOutcome(reason, exit_code=3, signal=11, error="details"), timeout_seconds=60)
    assert sentence is not None
    assert told(reason, sentence)


def test_every_sentence_of_the_engine_is_listed_under_its_reason() -> None:
    known = {function for _, function in inspect.getmembers(causes, inspect.isfunction)}
    assert known == SENTENCES.keys() | LOSSES
    missing = [say(*given) for say, (reason, given) in SENTENCES.items() if not told(reason, say(*given))]
    assert missing == []


def test_every_code_of_a_refusal_is_listed() -> None:
    listed = {code for cells in rows("When a request is refused") for code in re.findall("[A-Z_]+", cells[0])}
    sources = "".join(path.read_text() for path in (ROOT / "app").rglob("*.py"))
    assert listed == set(ErrorCode) | set(re.findall(r'"code": "([A-Z_]+)"', sources))


def test_every_file_named_exists() -> None:
    linked = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert linked
    assert [path for path in linked if not (ROOT / path).exists()] == []
