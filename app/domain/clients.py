"""How a client says which program it is, and what follows for the runs it starts."""

from __future__ import annotations

from app.domain.vocabulary import TriggerType

CLIENT_HEADER = "X-MLP-Client"
"""The request header with the name of the client program."""

COMMAND_LINE = "mlp"
GRAPHIQL = "graphiql"

_USED_BY_PEOPLE = frozenset({COMMAND_LINE, GRAPHIQL})


def trigger_of(client: str | None) -> TriggerType:
    """What starts a run that this client asks for: a person, if people use the client, or else a program."""
    return TriggerType.MANUAL if client in _USED_BY_PEOPLE else TriggerType.API
