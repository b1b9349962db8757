"""Names of files that the shim and the domain both know."""

from __future__ import annotations

import uuid

import pytest

from app.domain import attempts
from app.domain.attempts import AttemptId, AttemptKey
from app.runner import files


def test_the_shim_and_the_domain_call_the_log_by_the_same_name() -> None:
    assert files.LOG == attempts.LOG_FILE


def test_no_file_of_the_stage_has_the_name_of_one_of_the_shims() -> None:
    shims = {name for name in vars(files).values() if isinstance(name, str)}
    assert not shims & {attempts.METRICS_FILE, attempts.PARAMS_FILE, attempts.STAGE_RESULT_FILE}


def test_an_attempt_id_is_parsed_as_it_is_written() -> None:
    key = AttemptKey(uuid.uuid4(), uuid.uuid4(), 12)
    assert AttemptId.parse(str(key)) == (key.stage_run_id, key.number)


@pytest.mark.parametrize(
    "text", ["", "1.1", f"{uuid.UUID(int=1)}", f"{uuid.UUID(int=1)}.", f"../{uuid.UUID(int=1)}.1"]
)
def test_other_texts_are_no_attempt_ids(text: str) -> None:
    assert AttemptId.parse(text) is None
