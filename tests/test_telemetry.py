"""Log lines as they are written."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.telemetry import configure_logging, log_context

SECRET = 'pa"ss/wörd'
Start = Callable[..., io.StringIO]


@pytest.fixture
def start() -> Iterator[Start]:
    """Configures logging into a text, and puts the loggers back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def start(**options: Any) -> io.StringIO:
        stream = io.StringIO()
        configure_logging(stream=stream, secrets=[SECRET], **options)
        return stream

    # basicConfig closes the handlers it replaces, and pytest's own are among them.
    root.handlers = []
    yield start
    logging.captureWarnings(False)
    root.handlers, root.level = handlers, level


def test_json_lines_hold_the_record_with_the_ids_of_its_context(start: Start) -> None:
    stream = start(form="json")
    with log_context(run_id="r1"), log_context(stage_run_id="s1"):
        logging.getLogger("app.x").info("started %s", "train", extra={"attempt": 2})
    logging.getLogger("app.x").info("outside")
    inside, outside = map(json.loads, stream.getvalue().splitlines())
    assert inside.pop("timestamp").endswith("Z")
    assert inside == {
        "level": "INFO",
        "logger": "app.x",
        "message": "started train",
        "run_id": "r1",
        "stage_run_id": "s1",
        "attempt": 2,
    }
    assert "run_id" not in outside


def test_console_lines_name_the_ids_after_the_message(start: Start) -> None:
    stream = start(form="console")
    with log_context(run_id="r1"):
        logging.getLogger("app.x").warning("slow")
    assert stream.getvalue().endswith(" WARNING app.x: slow run_id=r1\n")


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_secret_is_in_no_part_of_a_line(start: Start, form: str) -> None:
    stream = start(form=form)
    try:
        raise ValueError(f"postgresql://user:{SECRET}@host")
    except ValueError:
        logging.getLogger("app.x").exception("with %s", SECRET, extra={"password": SECRET})
    logging.getLogger("app.x").error("in a URL: pa%22ss%2Fw%C3%B6rd")
    text = stream.getvalue()
    assert "ss/w" not in text
    assert "pa%22" not in text
    assert "pa\\" not in text
    assert text.count("***") == 4
    assert "ValueError" in text


def test_uvicorn_writes_through_us_and_without_query_strings(start: Start) -> None:
    stream = start()
    access, error = logging.getLogger("uvicorn.access"), logging.getLogger("uvicorn.error")
    access.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:5", "GET", "/graphql?query={a}", "1.1", 200)
    error.info('%s - "WebSocket %s" [accepted]', "127.0.0.1:5", "/graphql?token=x")
    first, second = stream.getvalue().splitlines()
    assert first.endswith('uvicorn.access: 127.0.0.1:5 - "GET /graphql HTTP/1.1" 200')
    assert second.endswith('"WebSocket /graphql" [accepted]')


def test_the_level_holds_and_warnings_are_logged(start: Start) -> None:
    stream = start(level="WARNING")
    logging.getLogger("app.x").info("not this")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("look out", stacklevel=1)
    assert "not this" not in stream.getvalue()
    assert "look out" in stream.getvalue()
