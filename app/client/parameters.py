"""``--param lr=0.1`` and ``--stage-param train.lr=0.1`` as the ``runConfig`` of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.client.errors import Refused
from app.client.yaml_text import YamlError, parse_value


def run_config(
    params: Sequence[str], stage_params: Sequence[str], stage_names: Sequence[str]
) -> dict[str, Any]:
    """The ``runConfig`` of the options. Values are YAML: ``0.1`` is a number, ``true`` a boolean, ``[1, 2]`` a list."""
    config: dict[str, Any] = {}
    if params:
        config["params"] = dict(_assignment(text, "--param") for text in params)
    for text in stage_params:
        stage, rest = _split_stage(text, stage_names)
        name, value = _assignment(rest, f"--stage-param {stage}.")
        config.setdefault("stages", {}).setdefault(stage, {"params": {}})["params"][name] = value
    return config


def _assignment(text: str, option: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise Refused(f"{option} {text}: must look like name=value")
    try:
        return name, parse_value(value)
    except YamlError as error:
        raise Refused(f"{option} {text}: the value is not YAML ({error.message}); quote it") from None


def _split_stage(text: str, stage_names: Sequence[str]) -> tuple[str, str]:
    """The stage and the rest. Stage names may contain dots: the longest matching one is meant."""
    fitting = [name for name in stage_names if text.startswith(f"{name}.")]
    if not fitting:
        raise Refused(
            f"--stage-param {text}: must look like stage.name=value, where stage is one of {', '.join(stage_names)}"
        )
    stage = max(fitting, key=len)
    return stage, text[len(stage) + 1 :]
