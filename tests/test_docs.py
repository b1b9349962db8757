"""What README, docs and CONTRIBUTING promise is checked: settings, queries, pipelines, messages, links, commands."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from graphql import FieldNode, GraphQLSchema, OperationDefinitionNode, build_schema, parse, validate

from app.cli.program import COMMANDS
from app.client.pipeline_file import read_pipeline_file
from app.domain import messages
from app.domain.cache_policy import CachePolicy
from app.domain.input.manifest import DATASET_KEYS, ENTRY_KEYS, MODEL_KEYS, parse_manifest
from app.domain.keys import keys_of
from app.domain.moves import LEGAL_RUN_MOVES, LEGAL_STAGE_MOVES, STATUS_OF_PHASE
from app.domain.outcomes import AttemptOutcome, explain
from app.domain.retry import RetryPolicy
from app.domain.specs import (
    DRAFT_KEYS,
    STAGE_DRAFT_KEYS,
    Concurrency,
    PipelineConfig,
    Resources,
    RunConfig,
    StageConfig,
)
from app.domain.vocabulary import FinishReason, Phase, RunStatus, StageStatus
from app.errors import ErrorCode
from app.execution import environment
from app.settings import settings_table

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
}
README_LINES = 165
GLOSSARY_WORDS = 25


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


def all_blocks(language: str) -> list[Any]:
    """Every block of the language as a case of a test."""
    return [
        pytest.param(text, id=f"{page}-{number}")
        for page in PAGES
        for number, text in enumerate(blocks(page, language))
    ]


def prose(page: str) -> str:
    """The page without its blocks of code."""
    return re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)


def code_words(page: str) -> list[str]:
    """What stands in backticks in the prose of a page."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def section(page: str, title: str) -> str:
    text = re.split(rf"^#+ {re.escape(title)}\n", PAGES[page], flags=re.MULTILINE)[1]
    return re.split(r"^#", text, flags=re.MULTILINE)[0]


def rows(page: str, title: str) -> list[list[str]]:
    """The table of a section without its two lines of head; an empty first cell repeats the one above."""
    table: list[list[str]] = []
    for line in re.findall(r"^\| (.*) \|$", section(page, title), re.MULTILINE)[1:]:
        cells = [cell.strip() for cell in f" {line} ".split("|")]
        table.append([cells[0] or table[-1][0], *cells[1:]])
    return table


def names(page: str, title: str) -> list[str]:
    """The first column of the table of a section."""
    return [cells[0].strip("`") for cells in rows(page, title)]


@cache
def schema() -> GraphQLSchema:
    return build_schema((ROOT / "schema.graphql").read_text())


@cache
def sources() -> str:
    """Everything in which a name of the documentation may occur: the code, its tests, the schema."""
    patterns = ("app/**/*.py", "tests/**/*.py", "tests/clients/**/*.js", "schema.graphql")
    files = {path for pattern in patterns for path in ROOT.glob(pattern) if "node_modules" not in path.parts}
    return "".join(path.read_text() for path in files - {Path(__file__)})


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= README_LINES


def test_the_readme_begins_with_the_two_commands() -> None:
    first, second = blocks("README.md", "sh")[:2]
    assert (first, second) == ("pip install uv && uv run mlp demo\n", "pip install uv && uv run pytest\n")


def test_the_settings_table_is_the_settings() -> None:
    lines = [
        f"| `{row.name}` | {f'`{row.default}`' if row.default else ''} | {row.description} |"
        for row in settings_table()
    ]
    table = "\n".join(["| variable | default | what it is |", "|---|---|---|", *lines])
    assert table in PAGES["docs/settings.md"]


@pytest.mark.parametrize("document", all_blocks("graphql"))
def test_every_operation_is_valid(document: str) -> None:
    assert validate(schema(), parse(document)) == []


def test_the_answer_has_the_shape_of_its_query() -> None:
    query, answer = blocks("README.md", "graphql")[0], json.loads(blocks("README.md", "json")[0])
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


@pytest.mark.parametrize("document", all_blocks("json"))
def test_every_piece_of_json_is_json(document: str) -> None:
    assert json.loads(document)


@pytest.mark.parametrize("document", all_blocks("yaml"))
def test_every_pipeline_is_valid(document: str, tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(document)
    assert read_pipeline_file(file).stage_names


@pytest.mark.parametrize("document", all_blocks("sh"))
def test_every_shell_line_can_be_parsed(document: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=document, capture_output=True, text=True, check=False)
    assert checked.stderr == ""


def test_the_first_pipeline_runs_and_reports_what_the_readme_says(mlp_home: Path, tmp_path: Path) -> None:
    file = tmp_path / "first.yaml"
    file.write_text(blocks("README.md", "yaml")[0])
    mlp = Path(sys.executable).with_name("mlp")
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "MLP_HOME": str(mlp_home), "PORT": "1"}
    done = subprocess.run(
        [mlp, "run", file, "--json"], env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    metrics = {stage["name"]: stage["metrics"] for stage in json.loads(done.stdout)["stageRuns"]}
    [(stage, name, value)] = re.findall(r"`(\w+)` reports `(\w+) ([\d.]+)`", PAGES["README.md"])
    assert metrics[stage] == {name: float(value)}


@pytest.mark.parametrize(
    ("title", "keys"),
    [
        ("Keys of a pipeline", DRAFT_KEYS),
        ("Keys of `config` of a pipeline", keys_of(PipelineConfig)),
        ("Keys of a stage", STAGE_DRAFT_KEYS),
        ("Keys of `config` of a stage", keys_of(StageConfig)),
        ("Retries", keys_of(RetryPolicy)),
        ("Resources", keys_of(Resources)),
        ("Concurrency", keys_of(Concurrency)),
        ("Keys of `runConfig`", keys_of(RunConfig)),
        ("The cache", keys_of(CachePolicy)),
    ],
)
def test_every_key_of_a_pipeline_is_listed(title: str, keys: tuple[str, ...]) -> None:
    assert sorted(names("docs/stages.md", title)) == sorted(keys)


def test_every_variable_of_the_contract_is_listed() -> None:
    contract = re.findall(r'"(MLP_[A-Z_]+)"', inspect.getsource(environment))
    assert sorted(names("docs/stages.md", "The contract")) == sorted(contract)


def test_the_manifest_is_valid_and_shows_every_key() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", section("docs/stages.md", "artifacts.json"), re.DOTALL)
    model, dataset = json.loads(text)["artifacts"]
    assert set(parse_manifest(text, [model["path"], dataset["path"]]).entries) == {
        model["path"],
        dataset["path"],
    }
    assert {*model, *dataset} == set(ENTRY_KEYS)
    assert set(model["model"]) == set(MODEL_KEYS)
    assert set(dataset["dataset"]) == set(DATASET_KEYS)


SENTENCES: dict[Callable[..., str], tuple[FinishReason, tuple[Any, ...]]] = {
    messages.cancelled: (FinishReason.CANCELLED, ("ada", "too slow")),
    messages.stopped_fail_fast: (FinishReason.CANCELLED, ("train",)),
    messages.upstream_failed: (FinishReason.UPSTREAM_FAILED, ("train", StageStatus.FAILED)),
    messages.over_time: (FinishReason.TIMED_OUT, (60,)),
    messages.waited_too_long: (FinishReason.TIMED_OUT, (60,)),
    messages.too_large: (FinishReason.START_FAILED, ("8 CPUs", "4 CPUs")),
}
"""The sentences that end stages without an attempt of theirs, and with which reason."""

LOSSES = {
    messages.host_is_silent,
    messages.runner_was_stopped,
    messages.runner_vanished,
    messages.end_is_unknown,
}
"""Those that follow on "the attempt was lost"."""

ENDINGS, REFUSALS = "How a stage ends", "When a request is refused"


def is_listed(reason: FinishReason, sentence: str) -> bool:
    """Whether the table has a row of this reason whose message, with anything for each ``…``, is the sentence."""
    table = rows("docs/endings-and-errors.md", ENDINGS)
    patterns = [cells[2].strip("`") for cells in table if cells[0] == f"`{reason}`"]
    return any(
        re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), sentence) is not None
        for pattern in patterns
    )


def test_every_reason_to_end_and_what_to_do_is_listed() -> None:
    table = rows("docs/endings-and-errors.md", ENDINGS)
    assert {cells[0].strip("`") for cells in table} == set(FinishReason)
    assert all(cells[3] for cells in table if cells[1] != "COMPLETED")


@pytest.mark.parametrize(
    "reason", sorted(set(FinishReason) - {FinishReason.CANCELLED, FinishReason.UPSTREAM_FAILED})
)
def test_the_message_of_every_end_of_an_attempt_is_listed(reason: FinishReason) -> None:
    sentence = explain(AttemptOutcome(reason, exit_code=3, signal=11, error="details"), timeout_seconds=60)
    assert sentence is not None
    assert is_listed(reason, sentence)


def test_every_sentence_of_the_engine_is_listed_under_its_reason() -> None:
    known = {function for _, function in inspect.getmembers(messages, inspect.isfunction)}
    assert known == SENTENCES.keys() | LOSSES
    missing = [
        say(*given) for say, (reason, given) in SENTENCES.items() if not is_listed(reason, say(*given))
    ]
    assert missing == []


def test_every_code_of_a_refusal_is_listed() -> None:
    table = rows("docs/endings-and-errors.md", REFUSALS)
    listed = {code for cells in table for code in re.findall("[A-Z_]+", cells[0])}
    code = "".join(path.read_text() for path in (ROOT / "app").rglob("*.py"))
    assert listed == set(ErrorCode) | set(re.findall(r'"code": "([A-Z_]+)"', code))


def test_every_subscription_is_listed() -> None:
    root = schema().subscription_type
    assert root is not None
    assert sorted(names("docs/clients.md", "Subscriptions")) == sorted(root.fields)


def drawn_moves(number: int) -> set[tuple[str, str]]:
    """The arrows of a drawing of docs/design.md, without those from the beginning."""
    drawing = blocks("docs/design.md", "mermaid")[number]
    return set(re.findall(r"^ *(\w+) --> (\w+)", drawing, re.MULTILINE))


def test_the_moves_of_a_stage_run_are_drawn() -> None:
    assert drawn_moves(0) == {(start, end) for start, ends in LEGAL_STAGE_MOVES.items() for end in ends}


def test_the_moves_of_a_run_are_drawn() -> None:
    assert drawn_moves(1) == {(start, end) for start, ends in LEGAL_RUN_MOVES.items() for end in ends}


def test_the_status_of_every_phase_is_listed() -> None:
    final = {StageStatus(word) for word in set(StageStatus) - set(STATUS_OF_PHASE.values())}
    statuses = {phase: {status} for phase, status in STATUS_OF_PHASE.items()} | {Phase.FINAL: final}
    table = rows("docs/design.md", "State machines")
    assert {cells[0].strip("`"): set(re.findall("[A-Z]+", cells[1])) for cells in table} == statuses
    assert set(RunStatus) == {word for move in drawn_moves(1) for word in move}


def test_the_glossary_is_short_and_comes_first() -> None:
    words = names("docs/design.md", "Words")
    assert len(words) == len(set(words)) <= GLOSSARY_WORDS
    assert re.findall(r"^## (.*)$", PAGES["docs/design.md"], re.MULTILINE)[0] == "Words"


def anchors(page: str) -> set[str]:
    """What links to the headings of a page end with, by the rule of GitHub."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: str) -> Iterator[str]:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        name = str(file.relative_to(ROOT))
        if not file.exists() or (anchor and anchor not in anchors(name)):
            yield target


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    assert list(broken_links(page)) == []


def test_every_page_is_linked_from_the_readme() -> None:
    assert [page for page in PAGES if page != "README.md" and f"({page})" not in PAGES["README.md"]] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_path_named_exists(page: str) -> None:
    """``<noun>`` in a path stands for any name."""
    paths = [word for word in code_words(page) if re.match(r"(app|tests|docs|migrations|\.ci)/", word)]
    assert [path for path in paths if not any(ROOT.glob(re.sub(r"<\w+>", "*", path)))] == []


def commands_in(page: str) -> Iterator[tuple[str, list[str]]]:
    """Each ``mlp`` command of a page with its options."""
    lines = [line for text in blocks(page, "sh") for line in text.splitlines()] + code_words(page)
    for line in lines:
        for name, rest in re.findall(r"\bmlp ([a-z-]+)([^#`]*)", line.partition("#")[0]):
            yield name, re.findall(r"--[a-z-]+", rest)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_its_options_exist(page: str) -> None:
    for name, options in commands_in(page):
        assert name in COMMANDS
        known = {option for parameter in COMMANDS[name].load(name).params for option in parameter.opts}
        assert set(options) <= known, name


def test_every_command_and_every_option_of_a_run_is_listed() -> None:
    listed = {name for name, _ in commands_in("docs/operations.md")}
    assert listed == set(COMMANDS)
    run = COMMANDS["run"].load("run").params
    options = {option for parameter in run for option in parameter.opts if option.startswith("--")}
    told = set(re.findall(r"`(--[a-z-]+)", section("docs/operations.md", "Commands")))
    assert options <= told


@pytest.mark.parametrize("page", PAGES)
def test_every_field_named_exists(page: str) -> None:
    """Of the form ``Run.status``."""
    named = re.findall(r"`([A-Z][A-Za-z]+)\.([a-z][A-Za-z]+)`", prose(page))
    types = schema().type_map
    assert [f"{of}.{field}" for of, field in named if field not in getattr(types.get(of), "fields", {})] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_name_in_code_exists(page: str) -> None:
    """Names in camelCase, variables of ours, and words of the closed vocabularies."""
    text = PAGES[page]
    found = {word for code in code_words(page) for word in re.findall(r"\b[a-z]+[A-Z]\w*\b", code)}
    found |= set(re.findall(r"\bMLP_[A-Z_]+[A-Z]\b", text))
    found |= {word for code in code_words(page) for word in re.findall(r"\b[A-Z]+_[A-Z_]+\b", code)}
    assert sorted(word for word in found if not re.search(rf"\b{word}\b", sources())) == []
