"""The report of a run is safe for any terminal, whatever a stage wrote."""

from __future__ import annotations

import io

from rich.console import Console

from app.client.report import RunReport, print_report


def test_a_model_cannot_control_the_terminal() -> None:
    nasty = "\x1b]0;title\x07"
    model = {"algorithm": nasty, "framework": nasty, "metrics": {nasty: 1}}
    artifact = {
        "name": nasty,
        "artifactType": "MODEL",
        "fileSize": 1,
        "stageRun": {"name": nasty},
        "model": model,
    }
    run = {"status": "COMPLETED", "executionTime": 1.0, "errorMessage": None, "stageRuns": []}
    written = io.StringIO()
    print_report(Console(file=written, width=200), RunReport("run", "http://server", run, [artifact]))
    assert written.getvalue().count("]0;title") == 5
    assert "\x1b" not in written.getvalue()
