"""Names of the registry, and what its history means."""

from __future__ import annotations

import pytest

from app.domain.registry import AliasMove, AliasState, alias_problem, name_problem, previous_version, replay
from app.domain.vocabulary import AliasMoveKind as Kind


def moves(*steps: tuple[Kind, int | None, int | None]) -> list[AliasMove]:
    return [AliasMove("champion", kind, before, after, is_protected=False) for kind, before, after in steps]


@pytest.mark.parametrize("name", ["churn", "7", "a.b-c_d", "A", "x" * 200])
def test_a_name_fits_into_an_address(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize("name", ["", " ", ".a", "-a", "a/b", "a@b", "a b", "ü", "a\n", "a\0", "x" * 201])
def test_other_names_are_refused(name: str) -> None:
    assert name_problem(name)


@pytest.mark.parametrize("alias", ["1", "007", "v1", "V22"])
def test_an_alias_does_not_look_like_a_version(alias: str) -> None:
    assert alias_problem(alias) == f"must not look like a version: {alias!r}"


@pytest.mark.parametrize("alias", ["champion", "v1-beta", "vv", "1a"])
def test_other_aliases_are_allowed(alias: str) -> None:
    assert alias_problem(alias) is None


@pytest.mark.parametrize(
    ("history", "existing", "previous"),
    [
        (moves(), {1, 2}, None),
        (moves((Kind.SET, None, 1)), {1, 2}, None),
        (moves((Kind.SET, None, 1), (Kind.SET, 1, 2)), {1, 2}, 1),
        (moves((Kind.SET, None, 1), (Kind.SET, 1, 2)), {2}, None),
        (moves((Kind.SET, None, 1), (Kind.PROTECTED, 1, 1), (Kind.SET, 1, 2)), {1, 2}, 1),
        (
            moves((Kind.SET, None, 1), (Kind.SET, 1, 2), (Kind.SET, 2, 3), (Kind.MOVED_BACK, 3, 2)),
            {1, 2, 3},
            1,
        ),
        (moves((Kind.SET, None, 1), (Kind.SET, 1, 2), (Kind.MOVED_BACK, 2, 1)), {1, 2}, None),
        (
            moves((Kind.SET, None, 1), (Kind.SET, 1, 2), (Kind.MOVED_BACK, 2, 1), (Kind.SET, 1, 3)),
            {1, 2, 3},
            1,
        ),
        (moves((Kind.SET, None, 1), (Kind.REMOVED, 1, None), (Kind.SET, None, 2)), {1, 2}, None),
        (moves((Kind.SET, None, 1), (Kind.SET, 1, 2), (Kind.SET, 2, 1)), {1}, None),
        (
            moves((Kind.SET, None, 1), (Kind.SET, 1, 2), (Kind.SET, 2, 3), (Kind.MOVED_BACK, 3, 1)),
            {1, 3},
            None,
        ),
    ],
)
def test_the_previous_version_is_the_one_before_in_the_history(
    history: list[AliasMove], existing: set[int], previous: int | None
) -> None:
    assert previous_version(history, existing) == previous


def test_a_history_replays_to_the_aliases_of_now() -> None:
    history = [
        AliasMove("champion", Kind.SET, None, 1, is_protected=False),
        AliasMove("candidate", Kind.SET, None, 2, is_protected=False),
        AliasMove("champion", Kind.PROTECTED, 1, 1, is_protected=True),
        AliasMove("candidate", Kind.REMOVED, 2, None, is_protected=False),
    ]
    assert replay(history) == {"champion": AliasState(1, is_protected=True)}
