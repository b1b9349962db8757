"""An HTTP protocol for uvicorn that limits the size of headers and the time to send a request.

uvicorn buffers headers of any size, for any time, before it calls the application, and so before a token is checked.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_HEADER_BYTES = 64 * 1024
"""Limit of the request line with all headers, and of the trailers and framing between two pieces of a body."""

HEADER_SECONDS = 10.0
"""From the first byte of a request to the end of its headers; also from a new connection to its first byte."""

BODY_SECONDS = 30.0
"""From the end of the headers to the end of the body."""

LINGER_SECONDS = 1.0
"""Between a refusal and the end of the connection, so that the client can read the refusal."""


class _HeaderTooLarge(Exception):
    """Stops the parser."""


class HttpProtocol(HttpToolsProtocol):
    """Pass this class as ``uvicorn.Config(http=...)``. The time to make and to read a response is not limited."""

    _deadline: asyncio.TimerHandle | None = None
    _is_request_begun = False
    _is_header_complete = False
    _ignores_input = False
    """Whether to ignore further bytes: the client was refused, or a websocket has replaced this protocol."""
    _parsed_bytes = 0
    """Bytes of the header of the current request."""
    _received_bytes = 0
    """Bytes since the request began, or since the last piece of its body."""
    _first_bytes = 0
    """Of the bytes being parsed, those that belong to a request that begins with them."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_deadline(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ignores_input:
            return
        self._received_bytes += len(data)
        self._first_bytes = 0 if self._is_request_begun else len(data)
        super().data_received(data)
        if self._ignores_input or self.transport.is_closing():
            return
        if not self._is_request_begun:
            self._received_bytes = 0
            self._expect_request()
        elif self._received_bytes > MAX_HEADER_BYTES:
            self._refuse(431)

    def handle_websocket_upgrade(self) -> None:
        self._ignores_input = True
        self._clear_deadline()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        if self._parsed_bytes > MAX_HEADER_BYTES:
            self._refuse(431)
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_request_begun, self._is_header_complete = True, False
        self._received_bytes, self._first_bytes = self._first_bytes, 0
        self._parsed_bytes = 0
        self._set_deadline(HEADER_SECONDS)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_header_complete = True
        self._set_deadline(BODY_SECONDS)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._received_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_request_begun = False
        self._clear_deadline()
        super().on_message_complete()

    def _count(self, parsed_bytes: int) -> None:
        self._parsed_bytes += parsed_bytes
        if self._parsed_bytes > MAX_HEADER_BYTES:
            raise _HeaderTooLarge

    def _expect_request(self) -> None:
        """Limit the wait for a request of which only line breaks came: for uvicorn, these begin the request."""
        if self._deadline is None and self.timeout_keep_alive_task is None and not self._is_answering():
            self._set_deadline(HEADER_SECONDS)

    def _set_deadline(self, seconds: float) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, self._time_out, seconds)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _time_out(self, seconds: float) -> None:
        if self.flow.read_paused:
            # The server has paused reading: this request waits for the response to an earlier one.
            self._set_deadline(seconds)
            return
        self.logger.info("HTTP client has sent no whole request in %.0f s: connection dropped", seconds)
        self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Close the connection, with a response unless the client would take it for part of an earlier response."""
        self._ignores_input = True
        self._clear_deadline()
        if not self._is_request_begun or self._is_header_complete or self._is_answering():
            self.transport.abort()
            return
        self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete
