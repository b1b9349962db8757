from __future__ import annotations

import re

import pytest

from tests.cli.conftest import Mlp

DEADLINE_SECONDS = 300.0
"""Generous: it really trains, and takes twenty seconds on an idle machine."""


@pytest.mark.timeout(DEADLINE_SECONDS)
def test_the_demo_trains_two_models_and_tells_where_to_look(mlp: Mlp) -> None:
    result = mlp("demo", "--once", "--port", "0", deadline_seconds=DEADLINE_SECONDS)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    accuracies = re.findall(r"^evaluate-\w+ .* accuracy (0\.9\d*)", result.stdout, re.MULTILINE)
    assert len(accuracies) == 2
    assert re.search(r"^PLOT +3 ", result.stdout, re.MULTILINE)
    addresses = re.findall(r"http://127\.0\.0\.1:\d+/artifacts/[-0-9a-f]{36}/content", result.stdout)
    assert len(addresses) == 4
    assert re.search(r"/graphql#query=\S+$", result.stdout, re.MULTILINE)
