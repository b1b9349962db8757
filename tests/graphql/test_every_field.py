"""Walks every field of the schema: none costs more statements when there are more objects to read it of."""

from __future__ import annotations

import re
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import graphql as g

from app.domain.cache.misses import changed_since
from app.domain.events import EventKind
from app.domain.vocabulary import ArtifactType, RunStatus, StageStatus
from app.graphql.shared.ids import global_id
from tests.factories import NOON, Factory
from tests.graphql.conftest import Graph

SCHEMA = g.build_schema((Path(__file__).parents[2] / "schema.graphql").read_text())
FEW, MANY, COMPARED = 2, 12, 10

NOT_OF_QUERIES = (
    r"Query|Mutation|Subscription|\w+Payload|UserError"
    r"|(ResourceSample|MetricPoint|RunsChanged)Batch|SystemSample"
)
"""What only mutations and subscriptions answer with."""

EVIDENCE = {"oomKillsHost": 1, "stragglersKilled": 1, "stragglerNames": ["sleep"], "peakProcessCount": 3}


@dataclass
class Ids:
    """Of everything that exists, by type."""

    of: dict[str, list[str]] = field(default_factory=dict)

    def add(self, type_name: str, *keys: uuid.UUID) -> None:
        self.of.setdefault(type_name, []).extend(global_id(type_name, key) for key in keys)


@dataclass(frozen=True)
class PathTo:
    """A type, and the text around a selection that reaches its objects."""

    type: g.GraphQLObjectType
    before: str
    after: str
    root: str = ""
    """The type whose ids the query takes."""

    def query(self, selection: str) -> str:
        document = f"{{ {self.before} {{ {selection} }} {self.after} }}"
        return f"query ($ids: [ID!]!) {document}" if "$ids" in document else document


def paths() -> Iterator[PathTo]:
    """One path for each type that a query can reach: below nodes if possible, so that there are many objects."""
    assert SCHEMA.query_type is not None
    seen: set[str] = set()
    for group in (nodes_by_id(), other_roots(SCHEMA.query_type.fields)):
        found = deque(group)
        while found:
            path = found.popleft()
            if path.type.name not in seen:
                seen.add(path.type.name)
                yield path
                found.extend(paths_below(path))


def paths_below(path: PathTo) -> Iterator[PathTo]:
    for name, below in path.type.fields.items():
        for type_ in object_types(below.type):
            yield PathTo(
                type_, f"{path.before} {{ {name} {{ ... on {type_.name}", f"}} }} {path.after}", path.root
            )


def nodes_by_id() -> Iterator[PathTo]:
    """Stage runs first: they have the fullest explanations and ends."""
    node = SCHEMA.get_type("Node")
    assert isinstance(node, g.GraphQLInterfaceType)
    for type_ in sorted(SCHEMA.get_possible_types(node), key=lambda type_: type_.name != "StageRun"):
        yield PathTo(type_, f"nodes(ids: $ids) {{ ... on {type_.name}", "}", type_.name)


def other_roots(roots: Mapping[str, g.GraphQLField]) -> Iterator[PathTo]:
    for name, root in roots.items():
        arguments = "(ids: $ids)" if name == "compareRuns" else ""
        for type_ in object_types(root.type):
            if arguments or not required(root):
                yield PathTo(type_, f"{name}{arguments} {{ ... on {type_.name}", "}", "Run")


def object_types(type_: g.GraphQLOutputType) -> list[g.GraphQLObjectType]:
    named = g.get_named_type(type_)
    if isinstance(named, g.GraphQLInterfaceType | g.GraphQLUnionType):
        return list(SCHEMA.get_possible_types(named))
    return [named] if isinstance(named, g.GraphQLObjectType) else []


def required(field_: g.GraphQLField) -> list[str]:
    return [name for name, argument in field_.args.items() if g.is_required_argument(argument)]


def leaves(type_: g.GraphQLObjectType) -> list[str]:
    return [
        name
        for name, field_ in type_.fields.items()
        if g.is_leaf_type(g.get_named_type(field_.type)) and not required(field_)
    ]


def selections(type_: g.GraphQLObjectType) -> Iterator[tuple[str, str]]:
    """All leaves of the type at once, then each other field with the leaves of what it leads to."""
    yield "leaves", " ".join(["__typename", *leaves(type_)])
    for name, field_ in type_.fields.items():
        if not g.is_leaf_type(g.get_named_type(field_.type)):
            below = "".join(
                f" ... on {to.name} {{ {' '.join(leaves(to))} }}" for to in object_types(field_.type)
            )
            yield name, f"{name} {{ __typename }}" if not below else f"{name} {{ __typename {below} }}"


async def count_statements(
    graph: Graph, ids: Ids, statements: list[str], wanted: list[PathTo]
) -> dict[str, int]:
    """The number of statements that each selection at each path takes, with all nodes."""
    counts = {}
    for path in wanted:
        keys = ids.of[path.root]
        for name, selection in selections(path.type):
            query = path.query(selection)
            some = keys[:COMPARED] if "compareRuns" in query else keys
            statements.clear()
            data = await graph.data(query, ids=some)
            if name == "leaves":
                assert f"'__typename': '{path.type.name}'" in str(data), f"nothing of this type: {query}"
            counts[f"{path.type.name}.{name}"] = len(statements)
    return counts


async def make_families(make: Factory, ids: Ids, number: int) -> None:
    async with make.at_once():
        runs = [await make_family(make, ids) for _ in range(number)]
    for run, stage_run in runs:
        await make.samples(run, stage_run, [1, 2])
        await make.metric(stage_run, "loss", [0.5])


async def make_family(make: Factory, ids: Ids) -> tuple[uuid.UUID, uuid.UUID]:
    """A pipeline with all that can be below one but samples and metrics; its run, and a stage run of that."""
    pipeline = await make.pipeline()
    stages = [await make.stage(pipeline, "a"), await make.stage(pipeline, "b", order=1, dependencies=["a"])]
    run = await make.run(pipeline, last_event_seq=len(EventKind) + 1, cancel_requested_at=NOON)
    again = await make.run(pipeline, RunStatus.PENDING, retry_of_id=run)
    ids.add("Pipeline", pipeline)
    ids.add("Stage", *stages)
    ids.add("Run", run, again)
    ids.add("Schedule", await make.schedule(pipeline))
    ids.add("Webhook", await make.webhook(pipeline))
    first = await make_stage_run(make, ids, run, stages[0], name="a")
    second = await make_stage_run(make, ids, run, stages[1], name="b", depends_on=[first], position=1)
    ids.add("StageRun", first, second)
    await make.stage_run(again, stages[0], StageStatus.PENDING, reused_from_id=first, attempt_number=0)
    await make_events(make, run, first)
    return run, first


async def make_events(make: Factory, run: uuid.UUID, stage_run: uuid.UUID) -> None:
    """One of each kind; the first one is no longer there."""
    for seq, kind in enumerate(EventKind, start=2):
        of_stage = stage_run if kind.startswith(("STAGE", "ARTIFACT")) else None
        payload = {"artifactId": str(uuid.uuid4()), "name": "a", "artifactType": "OTHER", "status": "RUNNING"}
        await make.event(run, seq, kind, stage_run_id=of_stage, payload=payload)


async def make_stage_run(
    make: Factory, ids: Ids, run: uuid.UUID, stage: uuid.UUID, *, name: str, **values: Any
) -> uuid.UUID:
    """One that ran out of memory after it was asked to stop, and left a dataset and a model."""
    ended = {"finish_reason": "OUT_OF_MEMORY", "stop_requested_at": NOON, "stop_reason": "CANCELLED"}
    cache_miss = changed_since({"command": ["a"]}, {"command": ["b"]}).as_json()
    params = {"params": {"lr": uuid.uuid4().hex}}
    stage_run = await make.stage_run(
        run,
        stage,
        StageStatus.FAILED,
        name=name,
        metrics={"f1": 0.5},
        spec=params,
        cache_miss=cache_miss,
        **ended,
        **values,
    )
    worker = await make.worker()
    await make.attempt(
        stage_run,
        worker_id=worker,
        finish_reason="OUT_OF_MEMORY",
        signal=9,
        finished_at=NOON,
        evidence=EVIDENCE,
    )
    data = await make.artifact(
        stage_run, stage, "data", artifact_type=ArtifactType.DATASET, relative_path="data"
    )
    columns = [{"name": uuid.uuid4().hex, "type": "int"}, {"name": "x", "type": uuid.uuid4().hex}]
    dataset = await make.dataset(data, schema=columns)
    model = await make.artifact(stage_run, stage)
    ids.add("Worker", worker)
    ids.add("Artifact", data, model)
    ids.add("Dataset", dataset)
    ids.add("Model", model_id := await make.model(model, training_dataset_id=dataset))
    await make_registered_model(make, ids, model_id)
    return stage_run


async def make_registered_model(make: Factory, ids: Ids, model: uuid.UUID) -> None:
    registered = await make.registered_model(uuid.uuid4().hex)
    version = await make.model_version(registered, 1, model)
    await make.model_alias(registered, "champion", version)
    await make.alias_move(registered, 1)
    ids.add("RegisteredModel", registered)
    ids.add("ModelVersion", version)


def test_every_type_that_a_query_can_return_is_covered() -> None:
    walked = {path.type.name for path in paths()}
    types = {name for name, type_ in SCHEMA.type_map.items() if isinstance(type_, g.GraphQLObjectType)}
    not_walked = {name for name in types - walked if not name.startswith("__")}
    assert [name for name in not_walked if not re.fullmatch(NOT_OF_QUERIES, name)] == []
    assert not [path for path in paths() for name, of in path.type.fields.items() if required(of)]


async def test_every_field_costs_as_many_statements_of_many_objects_as_of_few(
    graph: Graph, make: Factory, statements: list[str]
) -> None:
    ids, wanted = Ids(), list(paths())
    counts = []
    for families in (FEW, MANY - FEW):
        await make_families(make, ids, families)
        counts.append(await count_statements(graph, ids, statements, wanted))
    few, many = counts
    assert {name: (few[name], many[name]) for name in few if few[name] != many[name]} == {}
    assert len(few) > 180


async def test_every_field_can_be_queried_alone(graph: Graph, make: Factory) -> None:
    """Only what its resolver says it ``reads`` is then read from the database."""
    ids = Ids()
    await make_families(make, ids, 1)
    for path in paths():
        for name, field_ in path.type.fields.items():
            if not required(field_):
                below = "" if g.is_leaf_type(g.get_named_type(field_.type)) else "{ __typename }"
                await graph.data(path.query(f"{name} {below}"), ids=ids.of[path.root])
