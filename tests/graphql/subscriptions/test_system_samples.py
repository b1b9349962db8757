"""``systemSamples``: the host, once per second, the same for all subscribers."""

from __future__ import annotations

import asyncio

from graph_client import Graph

SAMPLES = """subscription { systemSamples {
    at cpuPercent memoryUsedBytes memoryTotalBytes loadAverage serverRssBytes } }"""


async def test_samples_come_once_per_second_and_are_shared(graph: Graph) -> None:
    async with graph.subscribe(SAMPLES) as one, graph.subscribe(SAMPLES) as another:
        await asyncio.gather(one.next(), another.next())
        first, same = await asyncio.gather(one.next(), another.next())
        second = await one.next()
    assert first == same
    assert first["at"] < second["at"]
    assert 0 <= first["cpuPercent"] <= 100
    assert 0 < first["serverRssBytes"] < first["memoryUsedBytes"] < first["memoryTotalBytes"]
