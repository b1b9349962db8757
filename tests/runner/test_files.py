"""Names of files that the shim and the domain both know."""

from __future__ import annotations

import uuid

import pytest

from app.domain import attempts
from app.domain.attempts import AttemptKey, is_attempt_id, parse_attempt_id
from app.runner import files


def test_the_shim_and_the_domain_call_the_log_by_the_same_name() -> None:
    assert files.LOG == attempts.LOG_FILE


def test_no_file_of_the_stage_has_the_name_of_one_of_the_shims() -> None:
    shims = {name for name in vars(files).values() if isinstance(name, str)}
    assert not shims & {attempts.METRICS_FILE, attempts.PARAMS_FILE, attempts.STAGE_RESULT_FILE}


def test_an_attempt_id_is_parsed_as_it_is_written() -> None:
    key = AttemptKey(uuid.uuid4(), uuid.uuid4(), 12)
    assert is_attempt_id(str(key))
    assert parse_attempt_id(str(key)) == (key.stage_run_id, key.number)


@pytest.mark.parametrize("text", ["", "1.1", f"{uuid.uuid4()}", f"{uuid.uuid4()}.", f"../{uuid.uuid4()}.1"])
def test_other_texts_are_no_attempt_ids(text: str) -> None:
    assert not is_attempt_id(text)
    with pytest.raises(ValueError, match="not an attempt id"):
        parse_attempt_id(text)
