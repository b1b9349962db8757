"""A registered version keeps its artifact and its bytes, whatever is deleted around it."""

from __future__ import annotations

import contextlib
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.database.tables import (
    artifacts,
    blobs,
    model_alias_moves,
    model_aliases,
    model_versions,
    models,
    pipeline_runs,
    pipelines,
    registered_models,
    run_events,
)
from app.domain.registry import AliasMove, AliasState, replay
from app.errors import DomainError
from app.services.pipelines import delete_pipeline
from app.services.registry.aliases import (
    AliasChange,
    delete_alias,
    move_alias_back,
    protect_alias,
    set_alias,
)
from app.services.registry.versions import NewVersion, delete_version, register_version
from app.services.run_records import delete_run
from tests.execution.conftest import Engine, python, stage
from tests.execution.test_janitor import Site, days_ago
from tests.factories import Factory

NAMES, ALIASES, CONTENTS = ("churn", "fraud"), ("champion", "candidate"), 3
EXAMPLES, STEPS = 30, 40
OPERATIONS = (
    "train",
    "train",
    "register",
    "register",
    "set",
    "set",
    "protect",
    "protect",
    "unprotect",
    "back",
    "remove",
    "delete version",
    "delete run",
    "delete run",
    "delete pipeline",
    "retention",
    "clean files",
)
BEGINNING = (
    ("train", 0, 0),
    ("train", 1, 0),
    ("register", 0, 0),
    ("register", 0, 1),
    ("set", 0, 0),
    ("protect", 0, 0),
)
"""The alias champion of churn protects its version 1."""


class Registry:
    """Performs operations on a site, and knows which versions must exist."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.engine = site.engine
        self.done: Counter[str] = Counter()
        self.content_of: dict[uuid.UUID, bytes] = {}
        self.versions: dict[tuple[str, int], uuid.UUID] = {}
        """Models by name and number: all that were registered and not deleted as versions."""

    async def perform(self, operation: str, first: int, second: int) -> None:
        name, alias = NAMES[first % 2], ALIASES[second % 2]
        actions: dict[str, Callable[[], Awaitable[object]]] = {
            "train": lambda: self.train(first),
            "register": lambda: self.register(name, second),
            "set": lambda: self.change(set_alias, name, alias, version=second // 2 + 1),
            "protect": lambda: self.change(protect_alias, name, alias, is_protected=True),
            "unprotect": lambda: self.change(protect_alias, name, alias, is_protected=False),
            "back": lambda: self.change(move_alias_back, name, alias),
            "remove": lambda: self.change(delete_alias, name, alias),
            "delete version": lambda: self.delete_version(name, second),
            "delete run": lambda: self.delete_run(second),
            "delete pipeline": lambda: self.delete_pipeline(second),
            "retention": lambda: self.site.janitor(runs=30).clean_database(),
            "clean files": lambda: self.site.janitor().clean_files(),
        }
        with contextlib.suppress(DomainError):
            await actions[operation]()
            self.done[operation] += 1
        await self.check()

    async def train(self, number: int) -> None:
        """An old run with one model; several models have the same bytes."""
        make = self.site.make
        content = f"model {number % CONTENTS}".encode()
        blob = await self.site.stored(content, days=60)
        await make.stored_blob(blob)
        await self.site.execute(sa.update(blobs).values(touched_at=days_ago(60)))
        pipeline_id = await make.pipeline()
        run_id = await make.run(pipeline_id, completed_at=days_ago(60), updated_at=days_ago(60))
        stage_id = await make.stage(pipeline_id)
        stage_run_id = await make.stage_run(run_id, stage_id)
        artifact_id = await make.artifact(stage_run_id, stage_id, sha256=blob.sha256)
        self.content_of[await make.model(artifact_id)] = content

    async def register(self, name: str, number: int) -> None:
        model_id = await self.some(models.c.id, number)
        version_id = await register_version(self.engine, NewVersion(name, model_id))
        statement = sa.select(model_versions.c.version).where(model_versions.c.id == version_id)
        [(version,)] = await self.rows(statement)
        self.versions[name, version] = model_id

    async def change(
        self, verb: Callable[..., Awaitable[object]], name: str, alias: str, **values: Any
    ) -> None:
        aliases = (await self.aliases()).get(name, {})
        expected = aliases[alias].version if alias in aliases else None
        await verb(self.engine, AliasChange(name, alias, expected), **values)

    async def delete_version(self, name: str, number: int) -> None:
        await delete_version(self.engine, name, number)
        del self.versions[name, number]

    async def delete_run(self, number: int) -> None:
        await delete_run(self.engine, self.site.notifier, await self.some(pipeline_runs.c.id, number))

    async def delete_pipeline(self, number: int) -> None:
        pipeline_id = await self.some(pipelines.c.id, number)
        await delete_pipeline(self.engine, self.site.notifier, pipeline_id, delete_runs=True)

    async def some(self, column: sa.Column[uuid.UUID], number: int) -> uuid.UUID:
        """An id in the column, or an unknown one if there is none."""
        ids = sorted(await self.site.ids(column))
        return ids[number % len(ids)] if ids else uuid.uuid4()

    async def rows(self, statement: sa.Executable) -> list[Any]:
        async with self.engine.connect() as connection:
            return list(await connection.execute(statement))

    async def aliases(self) -> dict[str, dict[str, AliasState]]:
        statement = (
            sa.select(
                registered_models.c.name,
                model_aliases.c.alias,
                model_versions.c.version,
                model_aliases.c.is_protected,
            )
            .join(model_aliases, model_aliases.c.registered_model_id == registered_models.c.id)
            .join(model_versions, model_versions.c.id == model_aliases.c.version_id)
        )
        found: dict[str, dict[str, AliasState]] = {}
        for name, alias, version, is_protected in await self.rows(statement):
            found.setdefault(name, {})[alias] = AliasState(version, is_protected)
        return found

    async def check(self) -> None:
        """Every version that was not deleted has its bytes; every alias has its version; the history replays."""
        statement = (
            sa.select(registered_models.c.name, model_versions.c.version, models.c.id, artifacts.c.sha256)
            .join(model_versions, model_versions.c.registered_model_id == registered_models.c.id)
            .join(models, models.c.id == model_versions.c.model_id)
            .join(artifacts, artifacts.c.id == models.c.artifact_id)
            .join(blobs, blobs.c.sha256 == artifacts.c.sha256)
        )
        found = {}
        for name, version, model_id, sha256 in await self.rows(statement):
            found[name, version] = model_id
            assert self.site.store.path(sha256).read_bytes() == self.content_of[model_id]
        assert found == self.versions
        present = await self.aliases()
        for name, aliases in present.items():
            assert all((name, state.version) in found for state in aliases.values())
        assert await self.replayed() == present

    async def replayed(self) -> dict[str, dict[str, AliasState]]:
        moves = model_alias_moves.c
        statement = (
            sa.select(
                registered_models.c.name,
                moves.alias,
                moves.kind,
                moves.from_version,
                moves.to_version,
                moves.is_protected,
            )
            .join(registered_models, registered_models.c.id == moves.registered_model_id)
            .order_by(moves.seq)
        )
        history: dict[str, list[AliasMove]] = {}
        for name, *move in await self.rows(statement):
            history.setdefault(name, []).append(AliasMove(*move))
        states = {name: dict(replay(moves)) for name, moves in history.items()}
        return {name: aliases for name, aliases in states.items() if aliases}

    async def empty(self) -> None:
        for table in (
            model_aliases,
            model_alias_moves,
            model_versions,
            registered_models,
            pipelines,
            blobs,
        ):
            await self.site.execute(sa.delete(table))


@pytest.fixture
def site(idle: Engine) -> Site:
    return Site(idle.database, idle.notifier, idle.home, Factory(idle.database))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32 - 1))
async def test_a_registered_version_always_keeps_its_artifact_and_bytes(site: Site, seed: int) -> None:
    chosen, registry = Random(seed), Registry(site)
    await registry.empty()
    for step in BEGINNING:
        await registry.perform(*step)
    for _ in range(STEPS):
        await registry.perform(chosen.choice(OPERATIONS), chosen.randrange(8), chosen.randrange(8))
    assert registry.done.total() > len(BEGINNING)


async def test_retention_removes_a_run_only_after_its_version(site: Site) -> None:
    registry = Registry(site)
    for _ in range(2):
        await registry.train(0)
    await registry.register("churn", 0)
    registered, other = sorted(await site.ids(pipeline_runs.c.id))
    await site.make.event(registered, 1, "RUN_STARTED")
    assert (await site.janitor(runs=30).clean_database())["runs"] == 1
    assert await site.ids(pipeline_runs.c.id) == {registered}, f"{other} is not registered"
    assert await site.ids(run_events.c.run_id) == {registered}
    await registry.delete_version("churn", 1)
    assert (await site.janitor(runs=30).clean_database())["runs"] == 1
    assert (await site.janitor().clean_files())["blobs"] == 1


async def test_each_run_of_a_stage_registers_its_model_and_moves_the_alias(site: Site, idle: Engine) -> None:
    train = """
import json, os, pathlib
out = pathlib.Path(os.environ["MLP_OUTPUT_DIR"])
(out / "model.bin").write_text(os.environ["MLP_RUN_ID"])
model = {"register": "churn", "aliases": ["candidate"], "metrics": {"accuracy": 0.97}}
(out / "artifacts.json").write_text(json.dumps({"artifacts": [{"path": "model.bin", "model": model}]}))
"""
    registry = Registry(site)
    async with idle.supervised():
        for version in (1, 2):
            run_id = await idle.start(stage("train", python(train)))
            assert (await idle.finished(run_id)).error_message is None
            [(model_id, created_by)] = await registry.rows(
                sa.select(model_versions.c.model_id, model_versions.c.created_by).where(
                    model_versions.c.version == version
                )
            )
            assert created_by == f"run {run_id}"
            registry.versions["churn", version] = model_id
            registry.content_of[model_id] = str(run_id).encode()
            await registry.check()
            aliases = (await registry.aliases())["churn"]
            assert aliases == {"candidate": AliasState(version, is_protected=False)}
    metrics = await registry.rows(sa.select(models.c.metrics))
    assert [row.metrics for row in metrics] == [{"accuracy": 0.97}] * 2


async def test_a_name_that_cannot_be_registered_refuses_the_outputs(site: Site, idle: Engine) -> None:
    train = """
import json, os, pathlib
out = pathlib.Path(os.environ["MLP_OUTPUT_DIR"])
(out / "model.bin").write_text("model")
model = {"register": "churn/eu"}
(out / "artifacts.json").write_text(json.dumps({"artifacts": [{"path": "model.bin", "model": model}]}))
"""
    async with idle.supervised():
        run_id = await idle.start(stage("train", python(train)))
        message = (await idle.finished(run_id)).error_message
    assert "artifacts.0.model.register" in message
    assert await site.count(registered_models) == 0
