"""The lower bound: a websocket server that broadcasts lines of text, without runs or GraphQL.

It implements as much of graphql-transport-ws as its clients need. Each line of its standard input is the JSON of a
payload. Every client receives the first one when it subscribes, and each further one at once.
"""

from __future__ import annotations

import asyncio
import socket
import sys

import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from app.web.websocket import WebSocketProtocol


class Broadcast:
    """Every client has a task that waits for the next line, so a slow client delays no other."""

    def __init__(self, first: str) -> None:
        self.lines = [first]
        self._news = asyncio.Event()

    def add(self, line: str) -> None:
        self.lines.append(line)
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "graphql-transport-ws"})
        await receive()
        await send({"type": "websocket.send", "text": '{"type":"connection_ack"}'})
        await receive()
        sending = asyncio.create_task(self._send_lines(send))
        while (await receive())["type"] != "websocket.disconnect":
            pass
        sending.cancel()

    async def _send_lines(self, send: Send) -> None:
        number, last = 0, len(self.lines)
        while True:
            line = self.lines[number]
            await send({"type": "websocket.send", "text": f'{{"id":"1","type":"next","payload":{line}}}'})
            number = max(number + 1, last)
            while number == len(self.lines):
                await self._news.wait()


async def main() -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    broadcast = Broadcast((await reader.readline()).decode().strip())
    options = {"log_config": None, "lifespan": "off", "ws_per_message_deflate": False}
    server = uvicorn.Server(uvicorn.Config(broadcast, ws=WebSocketProtocol, **options))  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve([listener]))
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)  # noqa: T201
        while line := await reader.readline():
            broadcast.add(line.decode().strip())
        server.should_exit = True
        await task


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
