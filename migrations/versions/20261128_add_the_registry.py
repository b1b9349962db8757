"""Add the model registry

Revision: 0011
Follows: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_registered_models()
    _create_model_versions()
    _create_model_aliases()
    _create_model_alias_moves()


def downgrade() -> None:
    for table in ("model_alias_moves", "model_aliases", "model_versions", "registered_models"):
        op.drop_table(table)


def _create_registered_models() -> None:
    op.create_table(
        "registered_models",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("tags", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("last_version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_move_seq", sa.BigInteger(), server_default="0", nullable=False),
        *_timestamps(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registered_models")),
        sa.UniqueConstraint("name", name=op.f("uq_registered_models_name")),
    )


def _create_model_versions() -> None:
    op.create_table(
        "model_versions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("registered_model_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        _reference("model_versions", "registered_model_id", "registered_models.id"),
        _reference("model_versions", "model_id", "models.id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint(
            "registered_model_id", "version", name=op.f("uq_model_versions_registered_model_id_version")
        ),
        sa.UniqueConstraint(
            "registered_model_id", "model_id", name=op.f("uq_model_versions_registered_model_id_model_id")
        ),
    )
    op.create_index(op.f("ix_model_versions_model_id"), "model_versions", ["model_id"])


def _create_model_aliases() -> None:
    op.create_table(
        "model_aliases",
        sa.Column("registered_model_id", sa.Uuid(), nullable=False),
        sa.Column("alias", sa.String(length=100), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("is_protected", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        *_timestamps(),
        _reference("model_aliases", "registered_model_id", "registered_models.id"),
        _reference("model_aliases", "version_id", "model_versions.id"),
        sa.PrimaryKeyConstraint("registered_model_id", "alias", name=op.f("pk_model_aliases")),
    )
    op.create_index(op.f("ix_model_aliases_version_id"), "model_aliases", ["version_id"])


def _create_model_alias_moves() -> None:
    op.create_table(
        "model_alias_moves",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("registered_model_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("alias", sa.String(length=100), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "SET",
                "MOVED_BACK",
                "REMOVED",
                "PROTECTED",
                "UNPROTECTED",
                name="kind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("from_version", sa.Integer(), nullable=True),
        sa.Column("to_version", sa.Integer(), nullable=True),
        sa.Column("is_protected", sa.Boolean(), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        _reference("model_alias_moves", "registered_model_id", "registered_models.id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_alias_moves")),
        sa.UniqueConstraint(
            "registered_model_id", "seq", name=op.f("uq_model_alias_moves_registered_model_id_seq")
        ),
    )
    columns = ["registered_model_id", "alias", "seq"]
    op.create_index(op.f("ix_model_alias_moves_registered_model_id_alias_seq"), "model_alias_moves", columns)


def _reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=op.f(f"fk_{table}_{column}"), ondelete="RESTRICT")


def _timestamps() -> list[sa.Column[object]]:
    return [
        sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
        for name in ("created_at", "updated_at")
    ]
