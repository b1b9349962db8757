from __future__ import annotations

import sys
from pathlib import Path

import pytest
from graphql import DocumentNode, validate

from app.cli import main
from app.cli.program import COMMANDS
from app.client import documents
from app.graphql.schema import Schema, build_schema
from tests.cli.conftest import Mlp

OPERATIONS = [name for name, value in vars(documents).items() if isinstance(value, DocumentNode)]


class InProcess:
    """Runs ``mlp`` in this process, for commands that need no event loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *args: object) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        self._monkeypatch.setattr(sys, "argv", ["mlp", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert isinstance(code, int)
        return code, *self._capsys.readouterr()


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> InProcess:
    return InProcess(monkeypatch, capsys)


def test_help_names_every_command(in_process: InProcess) -> None:
    code, text, _ = in_process("--help")
    listed = text.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert (code, [line.split()[0] for line in listed]) == (0, [*COMMANDS])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does_and_how_it_ends(in_process: InProcess, command: str) -> None:
    code, text, _ = in_process(command, "--help")
    assert (code, text.split("\n\n")[1].strip()) == (0, COMMANDS[command].summary)
    assert "Exit codes: 0 " in text


def test_an_unknown_command_is_refused(in_process: InProcess) -> None:
    assert in_process("walk")[0] == 2


@pytest.fixture(scope="module")
def schema() -> Schema:
    return build_schema()


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_operations_of_the_commands_fit_the_schema(schema: Schema, name: str) -> None:
    assert validate(schema._schema, getattr(documents, name)) == []


def test_the_schema_is_written_and_found_equal(in_process: InProcess, tmp_path: Path) -> None:
    path = tmp_path / "schema.graphql"
    assert in_process("export-schema", path) == (0, "", "")
    assert in_process("export-schema", path, "--check") == (0, "", "")
    assert in_process("export-schema", "-") == (0, path.read_text(), "")


def test_a_schema_of_another_release_is_reported_with_the_difference(
    in_process: InProcess, tmp_path: Path
) -> None:
    path = tmp_path / "schema.graphql"
    in_process("export-schema", path)
    path.write_text(path.read_text().replace("type Run ", "type Walk "))
    code, _, errors = in_process("export-schema", path, "--check")
    assert code == 1
    assert errors.startswith(f"mlp: {path} is not the schema of this release; to write it: mlp export-schema")
    assert "mlp: -type Walk implements Node {\nmlp: +type Run implements Node {" in errors


def test_a_missing_schema_file_is_reported_in_one_line(in_process: InProcess, tmp_path: Path) -> None:
    path = tmp_path / "none.graphql"
    assert in_process("export-schema", path, "--check") == (
        2,
        "",
        f"mlp: {path}: No such file or directory\n",
    )


def test_a_wrong_file_is_refused_before_anything_starts(in_process: InProcess, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("name: wrong\nname: twice\n")
    assert in_process("run", path) == (2, "", f"mlp: {path}:2:1: the key 'name' is given twice\n")


def test_migrate_brings_an_empty_database_up_to_date_once(mlp: Mlp, empty_database_url: str) -> None:
    first = mlp("migrate", DATABASE_URL=empty_database_url)
    assert (first.returncode, first.stdout[:23]) == (0, "migrated from an empty "), first.stderr
    second = mlp("migrate", DATABASE_URL=empty_database_url)
    assert (second.returncode, second.stdout[:20]) == (0, "already at revision ")


def test_an_unreachable_database_is_reported_without_its_password(mlp: Mlp) -> None:
    result = mlp("serve", "--port", 0, DATABASE_URL="postgresql://someone:s3cret-word@127.0.0.1:1/name")
    assert result.returncode == 78
    assert result.stderr.splitlines()[-1].startswith("mlp: ")
    assert "s3cret-word" not in result.stderr + result.stdout
    assert "Traceback" not in result.stderr


def test_wrong_settings_are_reported_in_one_line(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "http")
    code, _, errors = in_process("serve")
    assert (code, errors.count("\n"), errors[:11]) == (78, 1, "mlp: PORT: ")
