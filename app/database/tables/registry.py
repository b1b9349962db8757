"""Tables of the model registry: named models, their numbered versions, and the aliases of versions."""

from __future__ import annotations

import sqlalchemy as sa

from app.database.columns import choice, id_column, instant, json_column, reference, timestamps
from app.database.tables.metadata import metadata
from app.domain.vocabulary import AliasMoveKind

registered_models = sa.Table(
    "registered_models",
    metadata,
    id_column(),
    sa.Column("name", sa.String(200), nullable=False, unique=True),
    sa.Column("description", sa.Text),
    json_column("tags"),
    # A number is used once, also if its version is deleted: the history refers to versions by their numbers.
    sa.Column("last_version", sa.Integer, nullable=False, server_default="0"),
    sa.Column("last_move_seq", sa.BigInteger, nullable=False, server_default="0"),
    *timestamps(),
)

model_versions = sa.Table(
    "model_versions",
    metadata,
    id_column(),
    reference("registered_model_id", "registered_models.id", on_delete="RESTRICT"),
    sa.Column("version", sa.Integer, nullable=False),
    reference("model_id", "models.id", on_delete="RESTRICT", index=True),
    sa.Column("created_by", sa.String(255)),
    sa.Column("note", sa.Text),
    instant("created_at", nullable=False, server_default=sa.func.now()),
    sa.UniqueConstraint("registered_model_id", "version"),
    sa.UniqueConstraint("registered_model_id", "model_id"),
)

model_aliases = sa.Table(
    "model_aliases",
    metadata,
    reference("registered_model_id", "registered_models.id", on_delete="RESTRICT", primary_key=True),
    sa.Column("alias", sa.String(100), primary_key=True),
    reference("version_id", "model_versions.id", on_delete="RESTRICT", index=True),
    sa.Column("is_protected", sa.Boolean, nullable=False, server_default=sa.false()),
    *timestamps(),
)

model_alias_moves = sa.Table(
    "model_alias_moves",
    metadata,
    id_column(),
    reference("registered_model_id", "registered_models.id", on_delete="RESTRICT"),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("alias", sa.String(100), nullable=False),
    choice("kind", AliasMoveKind),
    sa.Column("from_version", sa.Integer),
    sa.Column("to_version", sa.Integer),
    sa.Column("is_protected", sa.Boolean, nullable=False),
    sa.Column("actor", sa.String(255)),
    sa.Column("reason", sa.Text),
    instant("at", nullable=False, server_default=sa.func.now()),
    sa.UniqueConstraint("registered_model_id", "seq"),
    sa.Index(None, "registered_model_id", "alias", "seq"),
)
