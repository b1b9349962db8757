"""What resolvers may use: the context of one operation, and the factory that makes it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from app.compiled_graphql.reading import Attributes
from app.database.engine import without_transactions
from app.domain.clients import trigger_of
from app.graphql.shared.loading import LoaderFactory
from app.graphql.shared.rows import Reader
from app.notifications.postgres import PostgresNotifier
from app.services.logs import LogReader
from app.services.streams import Streams
from app.services.system import SystemSampler
from app.storage.imports import Imports

READ_SLOTS = 8
"""Statements of queries that run at the same time; no more than their engine has connections."""

READ_TIMEOUT_SECONDS = 8.0
"""Limit of one statement: shorter than that of an operation, so that the error can name the slow field."""


@dataclass(frozen=True)
class ContextFactory:
    """What all operations of this process share; call it for the context of one request or websocket."""

    context_class: type[OperationContext]
    engine: AsyncEngine
    notifier: PostgresNotifier
    logs: LogReader
    streams: Streams
    system: SystemSampler
    imports: Imports
    reads: AsyncEngine | None = None
    """A separate engine for the reads of queries; ``None`` if they share ``engine``."""
    environment: str | None = None
    """The environment of runs that are started without one."""
    read_slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READ_SLOTS))

    def __call__(self, *, authorization: str | None = None, client: str | None = None) -> OperationContext:
        return self.context_class(self, authorization, client)

    @cached_property
    def read_engine(self) -> AsyncEngine:
        return without_transactions(self.reads or self.engine)


class OperationContext:
    """One operation's view of the server.

    Strawberry makes one context per request or websocket; ``fork`` gives each operation on it its own loaders.
    """

    def __init__(self, shared: ContextFactory, authorization: str | None, client: str | None) -> None:
        self._shared = shared
        self._client = client
        self.authorization = authorization
        """The Authorization header of the request or of the websocket's handshake."""
        self.connection_params: Mapping[str, Any] | None = None
        """The payload of the websocket's ``connection_init``; Strawberry sets it."""
        self.deadline: asyncio.Timeout | None = None
        """When the operation times out; set while it is executed."""
        self.engine = shared.engine
        self.notifier = shared.notifier
        self.logs = shared.logs
        self.streams = shared.streams
        self.system = shared.system
        self.imports = shared.imports
        self.environment = shared.environment
        self.trigger_type = trigger_of(client)
        """What starts the runs that this client asks for."""
        self.reader = Reader(shared.read_engine, shared.read_slots)

    @cached_property
    def loaders(self) -> LoaderFactory:
        """The loaders of this operation, made when they are first used."""
        return self.new_loaders()

    def fork(self) -> OperationContext:
        """The context of another operation of the same request or websocket."""
        fork = type(self)(self._shared, self.authorization, self._client)
        fork.connection_params = self.connection_params
        return fork

    def new_loaders(self) -> LoaderFactory:
        """Loaders that have loaded nothing yet; the nouns of the graph provide them."""
        raise NotImplementedError

    def narrow_to(self, attributes: Attributes) -> None:
        """Load only these attributes of the objects of these classes."""
        self.reader.attributes = attributes

    def allow_more_time(self, seconds: float) -> None:
        """Postpone the time-out of the operation to this many seconds from now."""
        if self.deadline is not None:
            self.deadline.reschedule(asyncio.get_running_loop().time() + seconds)

    def stop_loading(self) -> None:
        """End the reads of the loaders: the operation has ended."""
        if "loaders" in self.__dict__:
            self.loaders.stop()

    def forget_loaded(self) -> None:
        """Load everything anew from now on, because rows have changed."""
        self.stop_loading()
        self.__dict__.pop("loaders", None)
