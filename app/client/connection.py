"""A connection to a server: queries and mutations by HTTP, subscriptions by websockets that reconnect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from gql import Client, GraphQLRequest
from gql.client import AsyncClientSession
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.aiohttp_websockets import AIOHTTPWebsocketsTransport
from gql.transport.exceptions import (
    TransportClosed,
    TransportConnectionFailed,
    TransportProtocolError,
    TransportQueryError,
    TransportServerError,
)
from graphql import DocumentNode, OperationDefinitionNode, OperationType
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_exponential

from app.client.errors import ClientError, Refused, Unreachable
from app.domain.clients import CLIENT_HEADER, COMMAND_LINE

REQUEST_SECONDS = 30
PATIENCE_SECONDS = 60
_CONNECT_SECONDS = 5
_CLOSE_SECONDS = 2
_HEARTBEAT_SECONDS = 10
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 5.0
_GRAPHQL_PATH = "/graphql"
_UNAUTHENTICATED = "UNAUTHENTICATED"
_UNAVAILABLE = "UNAVAILABLE"

_CONNECTION_ERRORS = (
    TransportConnectionFailed,
    TransportClosed,
    TransportProtocolError,
    TransportServerError,
    aiohttp.ClientError,
    OSError,
    TimeoutError,
)

Values = Mapping[str, Any]


@asynccontextmanager
async def connected(url: str, token: str | None = None) -> AsyncIterator[Connection]:
    """A connection to the server at ``url``, an address with or without ``/graphql``."""
    address = base_url(url)
    authorization = {"Authorization": f"Bearer {token}"} if token else {}
    headers = {CLIENT_HEADER: COMMAND_LINE, **authorization}
    transport = AIOHTTPTransport(
        address + _GRAPHQL_PATH,
        headers,
        timeout=REQUEST_SECONDS,
        # The server may close an idle connection just when a mutation is sent, and a mutation must not be sent twice.
        client_session_args={"connector": aiohttp.TCPConnector(force_close=True)},
    )
    # The websockets share this session: gql does not close a session of its own that failed to connect.
    async with Client(transport=transport) as session, aiohttp.ClientSession() as sockets:
        yield Connection(address, headers, session, sockets)


class Connection:
    """Executes operations. Failures are ``ClientError``; ``Unreachable`` if no server answers or the token is wrong."""

    def __init__(
        self, url: str, headers: dict[str, str], session: AsyncClientSession, sockets: aiohttp.ClientSession
    ) -> None:
        self.url = url
        self._headers = headers
        self._session = session
        self._sockets = sockets

    async def execute(self, document: DocumentNode, **variables: Any) -> dict[str, Any]:
        """The data of a query or mutation. A query is retried for a minute while the server has no database."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: _is_outage(error) and not _is_mutation(document)),
            wait=wait_exponential(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS),
            stop=stop_after_delay(PATIENCE_SECONDS),
            reraise=True,
        )
        request = GraphQLRequest(document, variable_values=variables)
        try:
            return await retrying(self._session.execute, request)
        except TransportQueryError as error:
            raise self._failure(error) from None
        except TransportServerError as error:
            raise Unreachable(f"{self.url} answers with an error: {error}") from None
        except _CONNECTION_ERRORS as error:
            raise self._unreachable(error) from None

    async def subscribe(
        self, document: DocumentNode, variables: Callable[[], Values]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The data of each message until the server completes the subscription.

        If the connection is lost or the server has no database, it subscribes again with the values that ``variables``
        returns then. The wait grows from try to try; after a minute without a message it raises ``Unreachable``.
        """
        outage = _Outage()
        while True:
            try:
                async with aclosing(self._messages(document, variables())) as messages:
                    async for message in messages:
                        outage.end()
                        yield message
                return
            except TransportQueryError as error:
                if not (_is_outage(error) and await outage.wait()):
                    raise self._failure(error) from None
            except _CONNECTION_ERRORS as error:
                if not await outage.wait():
                    raise self._unreachable(error) from None

    async def _messages(
        self, document: DocumentNode, variables: Values
    ) -> AsyncGenerator[dict[str, Any], None]:
        async with Client(transport=self._socket()) as session:
            request = GraphQLRequest(document, variable_values=dict(variables))
            async with aclosing(session.subscribe(request)) as results:
                async for result in results:
                    yield result

    def _socket(self) -> AIOHTTPWebsocketsTransport:
        return AIOHTTPWebsocketsTransport(
            self.url.replace("http", "ws", 1) + _GRAPHQL_PATH,
            subprotocols=[AIOHTTPWebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
            headers=self._headers,
            session=self._sockets,
            init_payload=dict(self._headers),
            heartbeat=_HEARTBEAT_SECONDS,
            connect_timeout=_CONNECT_SECONDS,
            ack_timeout=_CONNECT_SECONDS,
            close_timeout=_CLOSE_SECONDS,
            websocket_close_timeout=_CLOSE_SECONDS,
        )

    def _failure(self, error: TransportQueryError) -> ClientError:
        entries = error.errors or [{"message": str(error)}]
        if any(entry.get("extensions", {}).get("code") == _UNAUTHENTICATED for entry in entries):
            return Unreachable(f"{self.url} requires a token: set MLP_API_TOKEN to the token of that server")
        return ClientError(*(str(entry["message"]) for entry in entries))

    def _unreachable(self, error: BaseException) -> Unreachable:
        return Unreachable(f"{self.url} can't be reached: {error or type(error).__name__}")


class _Outage:
    """The wait before the next try, and the time to give up."""

    def __init__(self) -> None:
        self.end()

    def end(self) -> None:
        """Forget the failures so far."""
        self._since: float | None = None
        self._wait_seconds = _FIRST_WAIT_SECONDS

    async def wait(self) -> bool:
        """Wait before the next try; false if there has been no success for too long."""
        now = asyncio.get_running_loop().time()
        self._since = now if self._since is None else self._since
        if now - self._since > PATIENCE_SECONDS:
            return False
        await asyncio.sleep(self._wait_seconds)
        self._wait_seconds = min(2 * self._wait_seconds, _LONGEST_WAIT_SECONDS)
        return True


def _is_outage(error: BaseException) -> bool:
    """Whether the only errors say that something the server needs is unavailable."""
    if not isinstance(error, TransportQueryError):
        return False
    codes = [entry.get("extensions", {}).get("code") for entry in error.errors or ()]
    return bool(codes) and set(codes) == {_UNAVAILABLE}


def _is_mutation(document: DocumentNode) -> bool:
    operations = (node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    return any(node.operation is OperationType.MUTATION for node in operations)


def base_url(url: str) -> str:
    """The address of a server without ``/graphql``. Raises ``Refused`` for anything else than an address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused(f"{url}: must be an address such as http://127.0.0.1:9095")
    path = parts.path.rstrip("/").removesuffix(_GRAPHQL_PATH)
    return f"{parts.scheme}://{parts.netloc}{path}"


async def is_our_server(url: str) -> bool:
    """Whether an ML Pipeline Thing server answers at the address."""
    limit = aiohttp.ClientTimeout(total=_CONNECT_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(f"{url}/health") as response:
            health = await response.json()
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return False
    return isinstance(health, dict) and {"status", "version", "database", "environment"} <= health.keys()
