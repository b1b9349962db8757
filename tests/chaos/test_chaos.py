"""Seeded faults under load, checked against the ledger that the stages write themselves.

Two API servers and two workers on one PostgreSQL: processes are killed and frozen, connections terminated, the database
restarted with and without an orderly shutdown. ``MLP_CHAOS_SEEDS`` (such as ``1,2,3`` or ``1-20``) and
``MLP_CHAOS_SECONDS`` make it longer; ``-n 0 -s`` shows the figures.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from app.database.engine import create_engine
from tests.chaos.client import Client, session
from tests.chaos.cluster import Cluster
from tests.chaos.database import Database
from tests.chaos.evidence import Evidence, Watch, read_evidence
from tests.chaos.invariants import miscounted, mispublished, unfinished, unkept
from tests.chaos.ledger import contradictions, crowds, read_ledger
from tests.chaos.plan import Plan
from tests.chaos.processes import CONCURRENT_RUNS, CONCURRENT_STAGES, processes_of
from tests.chaos.storm import PATIENCE_SECONDS, Storm
from tests.chaos.streams import illegal

SECONDS = float(os.environ.get("MLP_CHAOS_SECONDS", "4"))

SHORT_SEEDS = "4,28,399"
"""Together these have every kind of fault within 4 s."""


def seeds() -> list[int]:
    ranges = [part.partition("-") for part in os.environ.get("MLP_CHAOS_SEEDS", SHORT_SEEDS).split(",")]
    return [seed for first, _, last in ranges for seed in range(int(first), int(last or first) + 1)]


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    with (
        tempfile.TemporaryDirectory(prefix="mlp-chaos-db-") as data,
        tempfile.TemporaryDirectory(prefix="mlp-chaos-", ignore_cleanup_errors=True) as folder,
    ):
        async with Database(Path(data)) as database:
            yield Cluster(Path(folder), database)


@pytest.mark.chaos
@pytest.mark.timeout(SECONDS + 10 * PATIENCE_SECONDS)
@pytest.mark.parametrize("seed", seeds())
async def test_no_fault_loses_a_run_or_completes_a_stage_twice(seed: int, cluster: Cluster) -> None:
    engine = create_engine(cluster.database_url)
    watch = Watch(CONCURRENT_RUNS, CONCURRENT_STAGES)
    async with session() as http:
        client = Client(http, cluster.urls)
        storm = Storm(Plan.of(seed, SECONDS), engine, cluster, client, watch, cluster.folder / "ledger")
        async with cluster.running():
            await storm.run()
    evidence = await read_evidence(engine)
    await engine.dispose()
    found_by = {invariant: [*found] for invariant, found in verdict(storm, evidence).items()}
    against = [f"{len(found)} against: {invariant}" for invariant, found in found_by.items()]
    print("\n" + "\n  ".join([figures(storm, evidence), *against]))  # noqa: T201 (the result of a long run)
    if problems := [f"{invariant}: {problem}" for invariant, found in found_by.items() for problem in found]:
        where = cluster.keep_traces()
        pytest.fail(f"seed {seed} of {SECONDS:g} s, ledger and logs in {where}:\n" + "\n".join(problems))


def verdict(storm: Storm, evidence: Evidence) -> dict[str, Iterable[str]]:
    """The violations of each invariant, in words."""
    cluster, ledger = storm.cluster, read_ledger(storm.ledger)
    return {
        "What a server has acknowledged holds": unkept(storm.client.promises, evidence),
        "Every run becomes final": unfinished(evidence),
        "No attempt starts or completes twice: rows and ledger agree": contradictions(
            evidence, ledger, cluster.hosts()
        ),
        "Processes respect all limits": crowds(evidence, ledger, CONCURRENT_STAGES),
        "Rows respect all limits at any moment, and final rows do not change": storm.watch.broken,
        "Events have no gap and are a possible sequence": illegal(evidence),
        "Counters and mirrored columns agree with their rows": miscounted(evidence),
        "Outputs are those of the last attempt": mispublished(evidence, cluster.store),
        "Servers and workers end only after a signal": cluster.unexpected,
        "No process is left": storm.left or processes_of(cluster.folder),
    }


def figures(storm: Storm, evidence: Evidence) -> str:
    promises, watch = storm.client.promises, storm.watch
    load = os.getloadavg()[0]
    return "; ".join(
        [
            f"seed {storm.plan.seed}, {storm.plan.seconds:g} s: {evidence.figures()}",
            f"acknowledged {len(promises.runs)} runs, {len(promises.cancelled)} cancels, "
            f"{len(promises.too_late)} too late; repeated {dict(promises.failures)}",
            f"faults {dict(sorted(storm.cluster.injected.items()))}",
            f"at most {watch.most_running} runs, {watch.most_active} stages per host in {watch.samples} samples",
            f"all final after {storm.drained_seconds:.1f} s, {storm.late} not after {PATIENCE_SECONDS:g} s, "
            f"longest pause {storm.longest_pause_seconds:.1f} s",
            f"load {load:.1f}",
        ]
    )
