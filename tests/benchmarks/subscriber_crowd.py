"""Many subscribers of one run, in a process of their own. They parse frames themselves, to use little CPU.

Prints one JSON line when all have subscribed; one with their observations, after it has read a line with the commit
times from its standard input; and one with the codes with which the server closed the sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import statistics
import struct
import sys
from array import array
from collections import Counter
from typing import Any, cast

import orjson
import uvloop

CONNECTING_AT_ONCE = 50
PATIENCE_SECONDS = 60.0
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Crowd:
    """All subscribers, and their shared state."""

    def __init__(self, query: str, run_id: str) -> None:
        subscribe = {"query": query, "variables": {"runId": run_id}}
        self.hello = frame(TEXT, {"type": "connection_init"}) + frame(
            TEXT, {"type": "subscribe", "id": "1", "payload": subscribe}
        )
        self.frame_bytes: Counter[int] = Counter()
        self._numbers: dict[bytes, tuple[int, ...]] = {}

    def numbers(self, message: bytes) -> tuple[int, ...]:
        """The numbers of the events in a message. Cached, because most messages arrive at many subscribers."""
        if message not in self._numbers:
            decoded = orjson.loads(message)
            assert decoded["type"] == "next", decoded
            assert "errors" not in decoded["payload"], decoded
            batch = decoded["payload"]["data"]["runEvents"]
            self._numbers[message] = tuple(event["seq"] for event in batch["events"])
        return self._numbers[message]


class Subscriber(asyncio.Protocol):
    """One socket with one subscription. A stalled one reads the first message only."""

    def __init__(self, crowd: Crowd, stalled: bool) -> None:
        self.stalled = stalled
        self.last_seq = 0
        self.is_wrong = False
        self.received_at = array("d")
        self.close_code: int | None = None
        loop = asyncio.get_running_loop()
        self.subscribed: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._crowd = crowd
        self._buffer = bytearray()
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            "GET /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        now = asyncio.get_running_loop().time()
        self._buffer += data
        if not self._is_open and not self._open():
            return
        while (parsed := parse(self._buffer)) is not None:
            opcode, payload, end = parsed
            del self._buffer[:end]
            self._take(opcode, payload, now)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def resume(self) -> None:
        self._transport.resume_reading()

    def _open(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        assert b" 101 " in self._buffer[:40], self._buffer[:200]
        del self._buffer[: end + 4]
        self._is_open = True
        self._transport.write(self._crowd.hello)
        return True

    def _take(self, opcode: int, payload: bytes, now: float) -> None:
        if opcode == PING:
            self._transport.write(frame(PONG, payload))
        elif opcode == CLOSE:
            self.close_code = struct.unpack_from(">H", payload)[0] if payload else 1005
            self._transport.close()
        elif b'"connection_ack"' not in payload[:40]:
            self._note(self._crowd.numbers(payload), now)
            self._crowd.frame_bytes[len(payload)] += 1
            if not self.subscribed.done():
                self.subscribed.set_result(None)
            if self.stalled:
                self._transport.pause_reading()

    def _note(self, numbers: tuple[int, ...], now: float) -> None:
        for seq in numbers:
            self.is_wrong |= seq != self.last_seq + 1
            self.last_seq = seq
            self.received_at.append(now)


def frame(opcode: int, payload: object) -> bytes:
    """A frame of a client, masked with zeros."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    short = len(data) < 126
    length = bytes([0x80 | len(data)]) if short else bytes([0x80 | 126]) + struct.pack(">H", len(data))
    return bytes([0x80 | opcode]) + length + bytes(4) + data


def parse(buffer: bytearray) -> tuple[int, bytes, int] | None:
    """Opcode and payload of the first frame of a server, and where it ends; ``None`` while it is incomplete."""
    if len(buffer) < 2:
        return None
    length, start = buffer[1], 2
    if length >= 126:
        size, form = (2, ">H") if length == 126 else (8, ">Q")
        if len(buffer) < 2 + size:
            return None
        (length,) = struct.unpack_from(form, buffer, 2)
        start += size
    end = start + length
    return None if len(buffer) < end else (buffer[0] & 15, bytes(buffer[start:end]), end)


async def connect(port: int, crowd: Crowd, count: int, stalled: int) -> list[Subscriber]:
    loop = asyncio.get_running_loop()
    subscribers: list[Subscriber] = []
    for first in range(0, count + stalled, CONNECTING_AT_ONCE):
        numbers = range(first, min(first + CONNECTING_AT_ONCE, count + stalled))
        made = [
            loop.create_connection(
                lambda number=number: Subscriber(crowd, number >= count), "127.0.0.1", port
            )  # type: ignore[misc]
            for number in numbers
        ]
        group = [protocol for _, protocol in await asyncio.gather(*made)]
        await asyncio.wait_for(
            asyncio.gather(*(subscriber.subscribed for subscriber in group)), PATIENCE_SECONDS
        )
        subscribers += group
    return subscribers


async def wait_for_last(subscribers: list[Subscriber], last_seq: int) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while min(subscriber.last_seq for subscriber in subscribers) < last_seq:
        if asyncio.get_running_loop().time() > deadline:
            return
        await asyncio.sleep(0.05)


def report(subscribers: list[Subscriber], committed_at: list[float], crowd: Crowd) -> dict[str, Any]:
    """``committed_at``: the commit times of the events, from the first one after all had subscribed."""
    last_seq = len(committed_at) + 1
    latencies = sorted(
        (received - committed) * 1000
        for subscriber in subscribers
        for received, committed in zip(subscriber.received_at[1:], committed_at, strict=False)
    )
    return {
        "right": sum(
            not subscriber.is_wrong and subscriber.last_seq == last_seq for subscriber in subscribers
        ),
        "messages": len(latencies),
        "p50": statistics.median(latencies),
        "p99": latencies[int(len(latencies) * 0.99)],
        "max": latencies[-1],
        "frame_bytes": crowd.frame_bytes.most_common(1)[0][0],
    }


async def main(port: int, query: str, run_id: str, count: int, stalled: int) -> None:
    crowd = Crowd(query, run_id)
    subscribers = await connect(port, crowd, count, stalled)
    readers = [subscriber for subscriber in subscribers if not subscriber.stalled]
    say({"subscribed": len(subscribers)})
    committed_at = json.loads(await asyncio.to_thread(sys.stdin.readline))
    await wait_for_last(readers, len(committed_at) + 1)
    say(report(readers, committed_at, crowd))
    for subscriber in subscribers:
        if subscriber.stalled:
            subscriber.resume()
    await asyncio.wait([subscriber.closed for subscriber in subscribers], timeout=PATIENCE_SECONDS)
    say(Counter(str(subscriber.close_code) for subscriber in readers))


def say(what: object) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("query")
    parser.add_argument("run_id")
    parser.add_argument("count", type=int)
    parser.add_argument("stalled", type=int)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(**vars(arguments)))
