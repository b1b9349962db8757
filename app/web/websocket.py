"""A websocket protocol for uvicorn that disconnects clients that have stopped reading.

uvicorn closes such a connection with ``transport.close()``, which waits until the peer has read what is buffered, that
is, for ever. The subscription and the socket would stay open, and a shutdown would wait for them.
"""

from __future__ import annotations

import asyncio

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Pass this class as ``uvicorn.Config(ws=...)``."""

    stall_seconds = 15.0
    """How long a client may read nothing of what is buffered for it."""

    close_seconds = 1.0
    """How long a closing connection may take to send the rest."""

    _stall_timer: asyncio.TimerHandle | None = None
    _closed_by_server = False

    async def send(self, message: ASGISendEvent) -> None:
        try:
            await super().send(message)
        except RuntimeError as error:
            # For uvicorn this is an error of the application, which can't know yet that the socket is closed.
            raise ClientDisconnected if self._closed_by_server else error from None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_buffer()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._abort_soon()

    def shutdown(self) -> None:
        super().shutdown()
        self._abort_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch_buffer(self) -> None:
        waiting_bytes = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(self.stall_seconds, self._check_progress, waiting_bytes)

    def _check_progress(self, waiting_bytes: int) -> None:
        if self.transport.get_write_buffer_size() < waiting_bytes:
            self._watch_buffer()
            return
        self.logger.info(
            "websocket client has read nothing for %.0f s: connection dropped", self.stall_seconds
        )
        self.transport.abort()

    def _stop_watching(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _abort_soon(self) -> None:
        self._closed_by_server = True
        self.loop.call_later(self.close_seconds, self.transport.abort)
