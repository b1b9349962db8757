"""The lineage of an artifact, dataset, model or stage run as a tree of lines."""

from __future__ import annotations

import base64
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.tree import Tree

from app.client import documents
from app.client.connection import Connection
from app.client.errors import Refused

_TYPES = ("Model", "Dataset", "Artifact", "StageRun")


@dataclass(frozen=True)
class Lineage:
    """The nodes of a lineage by their global ids, the start's id, and what lies next to each node."""

    start: str
    nodes: Mapping[str, Mapping[str, Any]]
    neighbours: Mapping[str, Sequence[str]]
    is_truncated: bool


async def read_lineage(connection: Connection, name: str, *, downstream: bool, depth: int) -> Lineage:
    """The lineage of ``name``, a global id or the UUID of a model, dataset, artifact or stage run.

    Raises ``Refused`` if the server has none of these.
    """
    existing = (await connection.execute(documents.EXISTING, ids=list(_ids(name))))["nodes"]
    node_id = next((node["id"] for node in existing if node), name)
    direction = "DOWNSTREAM" if downstream else "UPSTREAM"
    variables = {"id": node_id, "direction": direction, "depth": depth}
    start = (await connection.execute(documents.LINEAGE, **variables))["node"] or {}
    lineage = start.get("lineage")
    if lineage is None:
        raise Refused(f"there is no model, dataset, artifact or stage run {name} on {connection.url}")
    neighbours: defaultdict[str, list[str]] = defaultdict(list)
    for edge in lineage["edges"]:
        near, far = (edge["from"], edge["to"]) if downstream else (edge["to"], edge["from"])
        neighbours[near].append(far)
    nodes = {node["nodeId"]: node for node in lineage["nodes"]}
    return Lineage(start.get("artifactId", start["id"]), nodes, neighbours, lineage["isTruncated"])


def _ids(name: str) -> Iterator[str]:
    try:
        key = uuid.UUID(name)
    except ValueError:
        yield name
        return
    for type_name in _TYPES:
        yield base64.b64encode(f"{type_name}:{key}".encode()).decode()


def tree_of(lineage: Lineage) -> Tree:
    """The lineage with the start at the root. A node that several others lead to is unfolded where it is met first."""
    root = Tree(_label(lineage.nodes[lineage.start], run_id=None))
    _unfold(root, lineage.start, lineage, {lineage.start}, run_id=None)
    if lineage.is_truncated:
        root.add("[dim]more is not shown: ask with a smaller --depth, or in the graph[/dim]")
    return root


def _unfold(branch: Tree, node_id: str, lineage: Lineage, shown: set[str], run_id: str | None) -> None:
    """Adds what lies next to a node. ``run_id`` is the run shown last on the way to it, and not shown again."""
    for other in lineage.neighbours.get(node_id, ()):
        node = lineage.nodes[other]
        label = _label(node, run_id)
        if other in shown:
            branch.add(f"{label} [dim](above)[/dim]" if lineage.neighbours.get(other) else label)
            continue
        shown.add(other)
        stage_run = node["stageRun"]
        _unfold(branch.add(label), other, lineage, shown, stage_run["run"]["id"] if stage_run else run_id)


def _label(node: Mapping[str, Any], run_id: str | None) -> str:
    artifact, stage_run = node["artifact"], node["stageRun"]
    if artifact is not None:
        name, path = artifact["name"], artifact["relativePath"]
        details = artifact["artifactType"].lower() + ("" if path == name else f", {path}")
        return f"[bold]{_plain(name)}[/bold] ({_plain(details)})"
    if stage_run is None:
        return "deleted meanwhile"
    run = stage_run["run"]
    place = "" if run["id"] == run_id else f" of {_plain(run['pipeline']['name'])}, run {run['id']}"
    return f"stage {_plain(stage_run['name'])}{place}"


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
