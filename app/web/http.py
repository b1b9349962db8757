"""An HTTP protocol for uvicorn which neither collects headers without end nor waits for requests without end.

uvicorn keeps whatever it is sent before an application sees any of it, and so before anybody asks for a token.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_HEADER_BYTES = 64 * 1024
"""The request line with all headers, or the trailers and framing between two pieces of a body."""

HEADER_SECONDS = 10.0
"""From the first byte of a request until all its headers are there; also until that first byte on a new connection."""

BODY_SECONDS = 30.0
"""From then on until the body is complete."""

LINGER_SECONDS = 1.0
"""For a client that is refused to read why, before the connection is cut."""


class _HeaderTooLarge(Exception):
    """Stops the parser."""


class HttpProtocol(HttpToolsProtocol):
    """Give this class to ``uvicorn.Config(http=...)``. Answers may take as long as they like to be made and read."""

    _deadline: asyncio.TimerHandle | None = None
    _is_request_begun = False
    _is_header_complete = False
    _is_over = False
    """Nothing that is received counts any more: the client was refused, or a websocket has taken over."""
    _parsed_bytes = 0
    """Of the header of this request."""
    _received_bytes = 0
    """Since the request began, or since the last piece of its body."""
    _first_bytes = 0
    """How many of those now received can only be of the request which begins with them."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_within(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        self._received_bytes += len(data)
        self._first_bytes = 0 if self._is_request_begun else len(data)
        super().data_received(data)
        if self._is_over or self.transport.is_closing():
            return
        if not self._is_request_begun:
            self._received_bytes = 0
            self._expect_request()
        elif self._received_bytes > MAX_HEADER_BYTES:
            self._refuse(431)

    def handle_websocket_upgrade(self) -> None:
        self._is_over = True
        self._expect_nothing()
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
        self._expect_within(HEADER_SECONDS)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_header_complete = True
        self._expect_within(BODY_SECONDS)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._received_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_request_begun = False
        self._expect_nothing()
        super().on_message_complete()

    def _count(self, parsed_bytes: int) -> None:
        self._parsed_bytes += parsed_bytes
        if self._parsed_bytes > MAX_HEADER_BYTES:
            raise _HeaderTooLarge

    def _expect_request(self) -> None:
        """Line breaks before a request are allowed, but uvicorn takes them for the request and waits no longer."""
        if self._deadline is None and self.timeout_keep_alive_task is None and not self._is_answering():
            self._expect_within(HEADER_SECONDS)

    def _expect_within(self, seconds: float) -> None:
        self._expect_nothing()
        self._deadline = self.loop.call_later(seconds, self._give_up, seconds)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self, seconds: float) -> None:
        if self.flow.read_paused:
            # It is the server which reads no further: a request behind another one has to wait.
            self._expect_within(seconds)
            return
        self.logger.info("HTTP client has sent no whole request in %.0f s: connection dropped", seconds)
        self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Close the connection; the client is told why unless it would take that for a part of another answer."""
        self._is_over = True
        self._expect_nothing()
        if not self._is_request_begun or self._is_header_complete or self._is_answering():
            self.transport.abort()
            return
        self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete
