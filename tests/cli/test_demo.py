from __future__ import annotations

import re
import signal

import pytest

from tests.cli.conftest import Mlp

DEADLINE_SECONDS = 300.0
"""Generous: it really trains, and takes twenty seconds on an idle machine."""
EXPLORER = re.compile(r"/graphql#query=\S+$", re.MULTILINE)


@pytest.mark.timeout(DEADLINE_SECONDS)
def test_the_demo_trains_two_models_and_tells_where_to_look_while_it_serves(mlp: Mlp) -> None:
    running = mlp.start("demo", "--port", "0")
    try:
        running.line_with("Serving until Ctrl-C.", within_seconds=DEADLINE_SECONDS)
        running.signal(signal.SIGINT)
        assert running.end() == 0, running.errors
    finally:
        running.kill()
    assert running.errors == ""
    accuracies = re.findall(r"^evaluate-\w+ .* accuracy (0\.9\d*)", running.output, re.MULTILINE)
    assert len(accuracies) == 2
    assert re.search(r"^PLOT +3 ", running.output, re.MULTILINE)
    addresses = re.findall(r"http://127\.0\.0\.1:\d+/artifacts/[-0-9a-f]{36}/content", running.output)
    assert len(addresses) == 4
    assert EXPLORER.search(running.output)


def test_a_demo_whose_server_ends_with_it_names_no_address_of_it(mlp: Mlp) -> None:
    running = mlp.start("demo", "--once", "--port", "0")
    try:
        running.line_with("ingest: RUNNING")
        running.signal(signal.SIGINT)
        assert running.end() == 1, running.errors
    finally:
        running.kill()
    assert "start `mlp serve` to look at what is left of the run" in running.output
    assert "as long as the server runs" not in running.output
    assert not EXPLORER.search(running.output)
