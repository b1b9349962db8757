"""Statements that read registered models by their names."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from app.database.reads.selections import CACHED_STATEMENTS, KEYS, Selection, key_array
from app.database.tables import registered_models


@lru_cache(CACHED_STATEMENTS)
def registered_models_by_name(selection: Selection) -> sa.Select[Any]:
    """The registered models whose names are among the keys."""
    names = sa.bindparam(KEYS, type_=ARRAY(sa.Text))
    return sa.select(*selection.columns).where(registered_models.c.name == sa.any_(names))


@cache
def names_of_registered_models() -> sa.Select[Any]:
    """(key, name) of each registered model."""
    columns = (registered_models.c.id, registered_models.c.name)
    return sa.select(*columns).where(registered_models.c.id == sa.any_(key_array()))
