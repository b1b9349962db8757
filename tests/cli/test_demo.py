from __future__ import annotations

import re
import signal

import pytest

from tests.cli.conftest import Mlp

DEADLINE_SECONDS = 300.0
"""The demo trains models: twenty seconds on an idle machine."""
EXPLORER = re.compile(r"/graphql#query=\S+$", re.MULTILINE)


@pytest.mark.timeout(DEADLINE_SECONDS)
def test_the_demo_trains_two_models_and_prints_the_addresses_of_the_results(mlp: Mlp) -> None:
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


def test_a_demo_that_stops_its_server_prints_no_addresses(mlp: Mlp) -> None:
    running = mlp.start("demo", "--once", "--port", "0")
    try:
        running.line_with("ingest: RUNNING")
        running.signal(signal.SIGINT)
        assert running.end() == 1, running.errors
    finally:
        running.kill()
    assert "To look at the run, start `mlp serve`." in running.output
    assert "as long as the server runs" not in running.output
    assert not EXPLORER.search(running.output)
