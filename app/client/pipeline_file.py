"""Reads and checks the YAML file of a pipeline, and makes its working folders absolute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.client import yaml_text
from app.client.errors import Refused
from app.domain.input.pipelines import parse_pipeline
from app.domain.specs import DRAFT_KEYS, STAGE_DRAFT_KEYS
from app.errors import DomainError, InvalidInput

SIZE_LIMIT_BYTES = 1_000_000


@dataclass(frozen=True)
class PipelineFile:
    """``draft`` is the input of ``createPipeline``; ``locations`` holds line and column of each value by its path."""

    path: Path
    draft: Mapping[str, Any]
    locations: Mapping[yaml_text.Path, yaml_text.Location]

    @property
    def name(self) -> str:
        return str(self.draft["name"])

    @property
    def stage_names(self) -> list[str]:
        return [str(stage["name"]) for stage in self.draft["stages"]]

    def refusal(self, problems: Iterable[DomainError]) -> Refused:
        """The problems as lines ``file:line:column: message``."""
        return Refused(*(self._located(problem) for problem in problems))

    def _located(self, problem: DomainError) -> str:
        paths = yaml_text.ancestors(problem.path)
        location = next(self.locations[path] for path in paths if path in self.locations)
        where = ".".join(problem.path)
        text = problem.message if problem.message.startswith(where) else f"{where}: {problem.message}"
        return _line(self.path, location, text)


def read_pipeline_file(path: Path) -> PipelineFile:
    """Read and check the file. Raises ``Refused`` with all problems, each with its line and column.

    Working folders are relative to the folder of the file, which is also the default; they become absolute.
    """
    try:
        document = yaml_text.parse(_text(path))
    except yaml_text.YamlError as error:
        raise Refused(_line(path, error.location, error.message)) from None
    if not isinstance(document.value, dict):
        raise Refused(
            _line(path, yaml_text.Location(1, 1), "a pipeline is a mapping with name, config and stages")
        )
    folder = path.parent.resolve()
    file = PipelineFile(path, _with_workdirs(document.value, folder), document.locations)
    _check(file)
    return PipelineFile(path, _known_parts(file.draft), document.locations)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_LIMIT_BYTES + 1)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None
    if len(content) > SIZE_LIMIT_BYTES:
        raise Refused(f"{path}: a pipeline file may have at most {SIZE_LIMIT_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Refused(f"{path}:{line}: the file is not UTF-8 text") from None


def _line(path: Path, location: yaml_text.Location | None, message: str) -> str:
    where = "" if location is None else f":{location.line}:{location.column}"
    return f"{path}{where}: {message}"


def _with_workdirs(draft: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The draft with absolute working folders. Values of wrong types are left to the check."""
    config = {} if draft.get("config") is None else draft["config"]
    if isinstance(config, dict):
        draft = {**draft, "config": _with_workdir({"workdir": ".", **config}, folder)}
    if isinstance(stages := draft.get("stages"), list):
        draft = {**draft, "stages": [_stage_with_workdir(stage, folder) for stage in stages]}
    return draft


def _stage_with_workdir(stage: Any, folder: Path) -> Any:
    if isinstance(stage, dict) and isinstance(config := stage.get("config"), dict):
        return {**stage, "config": _with_workdir(config, folder)}
    return stage


def _with_workdir(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    if not isinstance(workdir := config.get("workdir"), str) or not workdir.strip():
        return config
    return {**config, "workdir": str((folder / Path(workdir).expanduser()).resolve())}


def _check(file: PipelineFile) -> None:
    try:
        parse_pipeline(file.draft)
    except InvalidInput as error:
        raise file.refusal(error.problems) from None


def _known_parts(draft: Mapping[str, Any]) -> dict[str, Any]:
    """The draft without the user's own keys (``x-…``) beside ``config``: they hold YAML anchors."""
    stages: Sequence[Mapping[str, Any]] = draft["stages"]
    return _parts(draft, DRAFT_KEYS) | {"stages": [_parts(stage, STAGE_DRAFT_KEYS) for stage in stages]}


def _parts(table: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: table[key] for key in keys if key in table}
