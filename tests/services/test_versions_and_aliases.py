"""The model registry: versions are numbered, aliases move by compare-and-set, and the history replays to them."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from app.database.tables import (
    artifacts,
    model_alias_moves,
    model_aliases,
    model_versions,
    models,
    registered_models,
)
from app.domain.artifacts import ModelFacts
from app.domain.registry import AliasMove, AliasState, replay
from app.errors import Conflict, DomainError, ErrorCode, NotFound
from app.services.pipelines import delete_pipeline
from app.services.registry import aliases
from app.services.registry.aliases import (
    AliasChange,
    delete_alias,
    move_alias_back,
    protect_alias,
    set_alias,
)
from app.services.registry.versions import (
    NewVersion,
    delete_version,
    register_version,
    update_registered_model,
)
from app.services.run_records import delete_run
from tests.moved_runs import ByHand, output, stage, waiters

PROMOTERS = 50


async def trained(by_hand: ByHand, facts: ModelFacts | None = None) -> tuple[uuid.UUID, uuid.UUID]:
    """A completed run of a pipeline with one model: the ids of the run and the model."""
    run_id = await by_hand.started(stage("train"))
    model = output(f"models/{uuid.uuid4()}.bin", model=facts or ModelFacts())
    await by_hand.complete(await by_hand.claimed("train"), model)
    statement = (sa.select(models.c.id).join(artifacts, artifacts.c.id == models.c.artifact_id)).where(
        artifacts.c.relative_path == model.path
    )
    ((model_id,),) = await by_hand.rows(statement)
    return run_id, model_id


async def registered(by_hand: ByHand, count: int = 1, name: str = "churn") -> list[uuid.UUID]:
    """Runs whose models are the versions 1, 2, ... of a registered model."""
    run_ids = []
    for _ in range(count):
        run_id, model_id = await trained(by_hand)
        await register_version(by_hand.engine, NewVersion(name, model_id))
        run_ids.append(run_id)
    return run_ids


async def history(by_hand: ByHand) -> list[Any]:
    return list(await by_hand.rows(sa.select(model_alias_moves).order_by(model_alias_moves.c.seq)))


async def state(by_hand: ByHand) -> dict[str, AliasState]:
    """The aliases of the only registered model; asserts that its history replays to them."""
    statement = sa.select(model_aliases.c.alias, model_versions.c.version, model_aliases.c.is_protected).join(
        model_versions, model_versions.c.id == model_aliases.c.version_id
    )
    present = {alias: AliasState(*rest) for alias, *rest in await by_hand.rows(statement)}
    moves = await history(by_hand)
    assert [move.seq for move in moves] == list(range(1, len(moves) + 1))
    past = [
        AliasMove(move.alias, move.kind, move.from_version, move.to_version, move.is_protected)
        for move in moves
    ]
    assert replay(past) == present
    return present


def champion(expected: int | None, **values: Any) -> AliasChange:
    return AliasChange("churn", "champion", expected, **values)


async def test_versions_are_numbered_and_a_model_keeps_its_version(by_hand: ByHand) -> None:
    _, first = await trained(by_hand)
    _, second = await trained(by_hand)
    version_id = await register_version(by_hand.engine, NewVersion("churn", first, "the first", "ada"))
    await register_version(by_hand.engine, NewVersion("churn", second))
    assert await register_version(by_hand.engine, NewVersion("churn", first, "again")) == version_id
    await register_version(by_hand.engine, NewVersion("fraud", second))
    statement = (
        sa.select(registered_models.c.name, model_versions.c.version, model_versions.c.note)
        .join(registered_models, registered_models.c.id == model_versions.c.registered_model_id)
        .order_by(registered_models.c.name, model_versions.c.version)
    )
    assert await by_hand.rows(statement) == [
        ("churn", 1, "the first"),
        ("churn", 2, None),
        ("fraud", 1, None),
    ]
    actors = await by_hand.rows(sa.select(model_versions.c.created_by).order_by(model_versions.c.created_at))
    assert [actor for (actor,) in actors] == ["ada", "API", "API"]


async def test_models_registered_at_once_get_numbers_without_gap(by_hand: ByHand) -> None:
    model_ids = [(await trained(by_hand))[1] for _ in range(5)]
    news = [NewVersion("churn", model_id) for model_id in model_ids * 2]
    found = await asyncio.gather(*(register_version(by_hand.engine, new) for new in news))
    assert found[:5] == found[5:]
    versions = await by_hand.rows(sa.select(model_versions.c.version).order_by(model_versions.c.version))
    assert [version for (version,) in versions] == [1, 2, 3, 4, 5]


async def test_a_deleted_version_leaves_its_number_unused(by_hand: ByHand) -> None:
    await registered(by_hand, 2)
    await delete_version(by_hand.engine, "churn", 2)
    await registered(by_hand)
    versions = await by_hand.rows(sa.select(model_versions.c.version).order_by(model_versions.c.version))
    assert [version for (version,) in versions] == [1, 3]


async def test_of_fifty_who_expect_the_same_version_one_moves_the_alias(by_hand: ByHand) -> None:
    await registered(by_hand, 3)
    await set_alias(by_hand.engine, champion(None), 1)
    for expected, wanted in ((1, (2, 3)), (None, (2, 3))):
        if expected is None:
            await delete_alias(by_hand.engine, champion((await state(by_hand))["champion"].version))
        before = len(await history(by_hand))
        results = await asyncio.gather(
            *(
                set_alias(by_hand.engine, champion(expected, actor=str(number)), wanted[number % 2])
                for number in range(PROMOTERS)
            ),
            return_exceptions=True,
        )
        losers = [result for result in results if isinstance(result, Conflict)]
        assert len(losers) == PROMOTERS - 1
        assert {(loser.code, loser.path) for loser in losers} == {(ErrorCode.CONFLICT, ("expectedVersion",))}
        winner = next(number for number, result in enumerate(results) if isinstance(result, uuid.UUID))
        (move,) = (await history(by_hand))[before:]
        assert (move.actor, move.to_version) == (str(winner), wanted[winner % 2])
        assert await state(by_hand) == {"champion": AliasState(wanted[winner % 2], is_protected=False)}


async def test_an_alias_moves_back_step_by_step(by_hand: ByHand) -> None:
    await registered(by_hand, 4)
    for version in (1, 2, 3, 2, 4):
        present = (await state(by_hand)).get("champion")
        await set_alias(by_hand.engine, champion(present and present.version), version)
    await move_alias_back(by_hand.engine, champion(4, reason="too slow", actor="ada"))
    assert (await state(by_hand))["champion"].version == 2
    assert [(m.kind, m.from_version, m.to_version, m.reason, m.actor) for m in await history(by_hand)][
        -1
    ] == ("MOVED_BACK", 4, 2, "too slow", "ada")
    await delete_version(by_hand.engine, "churn", 3)
    await move_alias_back(by_hand.engine, champion(2))
    assert (await state(by_hand))["champion"].version == 1, "3 was deleted, and 2 is where it is"
    with pytest.raises(NotFound, match="no previous version") as refusal:
        await move_alias_back(by_hand.engine, champion(1))
    assert refusal.value.path == ("alias",)


async def test_two_who_move_an_alias_back_at_once_move_it_one_step(by_hand: ByHand) -> None:
    await registered(by_hand, 3)
    for version in (1, 2, 3):
        await set_alias(by_hand.engine, champion(version - 1 or None), version)
    results = await asyncio.gather(
        *(move_alias_back(by_hand.engine, champion(3)) for _ in range(2)), return_exceptions=True
    )
    assert sum(isinstance(result, Conflict) for result in results) == 1
    assert (await state(by_hand))["champion"].version == 2


async def test_a_protected_alias_can_be_moved_but_not_removed(by_hand: ByHand) -> None:
    await registered(by_hand, 2)
    await set_alias(by_hand.engine, champion(None), 1)
    await protect_alias(by_hand.engine, champion(1), is_protected=True)
    await protect_alias(by_hand.engine, champion(1), is_protected=True)
    assert await state(by_hand) == {"champion": AliasState(1, is_protected=True)}
    with pytest.raises(Conflict, match="protected") as refusal:
        await delete_alias(by_hand.engine, champion(1))
    assert refusal.value.path == ("alias",)
    await set_alias(by_hand.engine, champion(1), 2)
    assert await state(by_hand) == {"champion": AliasState(2, is_protected=True)}
    await protect_alias(by_hand.engine, champion(2), is_protected=False)
    await delete_alias(by_hand.engine, champion(2))
    assert await state(by_hand) == {}
    kinds = [str(move.kind) for move in await history(by_hand)]
    assert kinds == ["SET", "PROTECTED", "SET", "UNPROTECTED", "REMOVED"]


async def test_what_does_not_exist_is_named(by_hand: ByHand) -> None:
    await registered(by_hand)
    engine = by_hand.engine
    unknown = uuid.uuid4()
    for refused, path in (
        (register_version(engine, NewVersion("churn", unknown)), ("modelId",)),
        (set_alias(engine, AliasChange("fraud", "a", None), 1), ("name",)),
        (set_alias(engine, champion(None), 2), ("version",)),
        (move_alias_back(engine, champion(None)), ("alias",)),
        (protect_alias(engine, champion(None), is_protected=True), ("alias",)),
        (delete_alias(engine, champion(None)), ("alias",)),
        (delete_version(engine, "churn", 2), ("version",)),
        (update_registered_model(engine, "fraud", {}), ("name",)),
    ):
        with pytest.raises(NotFound) as refusal:
            await refused
        assert refusal.value.path == path
    assert await by_hand.rows(sa.select(registered_models.c.name)) == [("churn",)]


@pytest.mark.parametrize(
    ("name", "alias", "paths"),
    [
        ("a/b", "ok", [("name",)]),
        ("", "a@b", [("name",), ("alias",)]),
        ("churn", "7", [("alias",)]),
        ("churn", "V7", [("alias",)]),
        ("x" * 201, "y" * 101, [("name",), ("alias",)]),
    ],
)
async def test_names_and_aliases_must_fit_into_an_address(
    by_hand: ByHand, name: str, alias: str, paths: list[tuple[str, ...]]
) -> None:
    with pytest.raises(DomainError) as refusal:
        await set_alias(by_hand.engine, AliasChange(name, alias, None), 1)
    assert [problem.path for problem in refusal.value.problems] == paths  # type: ignore[attr-defined]


async def test_a_run_with_a_registered_model_is_not_deleted_before_the_version(by_hand: ByHand) -> None:
    (run_id,) = await registered(by_hand)
    pipeline_id = (await by_hand.run(run_id)).pipeline_id
    await set_alias(by_hand.engine, champion(None), 1)
    await protect_alias(by_hand.engine, champion(1), is_protected=True)

    async def refusals(pattern: str) -> None:
        with pytest.raises(DomainError, match=pattern) as refusal:
            await delete_run(by_hand.engine, by_hand.notifier, run_id)
        assert (refusal.value.code, refusal.value.path) == (ErrorCode.NOT_DELETABLE, ("runId",))
        with pytest.raises(DomainError, match=pattern) as refusal:
            await delete_pipeline(by_hand.engine, by_hand.notifier, pipeline_id, delete_runs=True)
        assert (refusal.value.code, refusal.value.path) == (ErrorCode.PIPELINE_IN_USE, ("pipelineId",))

    await refusals("version 1 of the registered model 'churn'.*protected alias 'champion'")
    with pytest.raises(DomainError, match="champion") as refusal:
        await delete_version(by_hand.engine, "churn", 1)
    assert (refusal.value.code, refusal.value.path) == (ErrorCode.NOT_DELETABLE, ("version",))
    await protect_alias(by_hand.engine, champion(1), is_protected=False)
    await refusals("the alias 'champion' points to that version")
    await delete_alias(by_hand.engine, champion(1))
    await refusals("delete the version first")
    await delete_version(by_hand.engine, "churn", 1)
    await delete_run(by_hand.engine, by_hand.notifier, run_id)
    assert await by_hand.rows(sa.select(models.c.id)) == []


async def test_a_registration_and_a_deletion_at_once_leave_a_version_with_its_model(by_hand: ByHand) -> None:
    for _ in range(10):
        run_id, model_id = await trained(by_hand)
        results = await asyncio.gather(
            register_version(by_hand.engine, NewVersion("churn", model_id)),
            delete_run(by_hand.engine, by_hand.notifier, run_id),
            return_exceptions=True,
        )
        codes = [result.code for result in results if isinstance(result, DomainError)]
        assert codes in ([ErrorCode.NOT_FOUND], [ErrorCode.NOT_DELETABLE]), results


async def test_a_deletion_waits_for_a_registration_that_has_begun(by_hand: ByHand) -> None:
    run_id, model_id = await trained(by_hand)
    await register_version(by_hand.engine, NewVersion("churn", (await trained(by_hand))[1]))
    async with asyncio.TaskGroup() as tasks, by_hand.engine.begin() as connection:
        await connection.execute(sa.select(registered_models).with_for_update())
        registering = tasks.create_task(register_version(by_hand.engine, NewVersion("churn", model_id)))
        await waiters(by_hand, 1)
        deleting = tasks.create_task(refused(delete_run(by_hand.engine, by_hand.notifier, run_id)))
        await waiters(by_hand, 2)
    assert registering.result()
    assert deleting.result() is ErrorCode.NOT_DELETABLE


async def refused(call: Any) -> ErrorCode | None:
    try:
        await call
    except DomainError as error:
        return error.code
    return None


async def test_a_stage_registers_its_model_and_sets_aliases_when_it_completes(by_hand: ByHand) -> None:
    facts = ModelFacts(register="churn", aliases=["candidate", "champion"])
    run_id, first = await trained(by_hand, facts)
    assert await state(by_hand) == {
        "candidate": AliasState(1, is_protected=False),
        "champion": AliasState(1, is_protected=False),
    }
    await protect_alias(by_hand.engine, champion(1), is_protected=True)
    _, second = await trained(by_hand, facts)
    assert await state(by_hand) == {
        "candidate": AliasState(2, is_protected=False),
        "champion": AliasState(1, is_protected=True),
    }
    versions = await by_hand.rows(
        sa.select(model_versions.c.model_id, model_versions.c.created_by).order_by(model_versions.c.version)
    )
    assert [model_id for model_id, _ in versions] == [first, second]
    assert versions[0].created_by == f"run {run_id}"
    noted = await by_hand.rows(sa.select(artifacts.c.artifact_metadata).order_by(artifacts.c.id))
    assert [row.artifact_metadata for row in noted] == [None, {"aliasesNotSet": ["champion"]}]
    moves = await history(by_hand)
    assert {move.actor for move in moves[:2]} == {f"run {run_id}"}


async def test_a_stage_that_fails_registers_nothing(by_hand: ByHand) -> None:
    await by_hand.started(stage("train"))
    await by_hand.fail(await by_hand.claimed("train"))
    assert await by_hand.rows(sa.select(registered_models)) == []


async def test_the_description_and_tags_of_a_registered_model_change(by_hand: ByHand) -> None:
    await registered(by_hand)
    await update_registered_model(by_hand.engine, "churn", {"description": "leaves", "tags": ["crm"]})
    await update_registered_model(by_hand.engine, "churn", {"tags": None})
    statement = sa.select(registered_models.c.description, registered_models.c.tags)
    assert await by_hand.rows(statement) == [("leaves", None)]


async def test_a_registered_model_has_a_bounded_number_of_aliases(
    by_hand: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aliases, "ALIASES_OF_A_MODEL", 2)
    await registered(by_hand, 2)
    for alias in ("one", "two"):
        await set_alias(by_hand.engine, AliasChange("churn", alias, None), 1)
    with pytest.raises(Conflict, match="has 2 aliases, which is the limit; remove one first"):
        await set_alias(by_hand.engine, AliasChange("churn", "three", None), 1)
    await set_alias(by_hand.engine, AliasChange("churn", "two", 1), 2)
    assert await state(by_hand) == {"one": AliasState(1, False), "two": AliasState(2, False)}
