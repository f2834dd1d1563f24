"""Change sets: plans of several DAGs that are confirmed, driven and undone together.

Revision ID: 5afec1ea0010
Revises: 5afec1ea0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from safe_clear_plugin.airflow_api.platform.airflow_tables import UtcDateTime

revision = "5afec1ea0010"
down_revision = "5afec1ea0009"
branch_labels = None
depends_on = None

TABLE = "safe_clear_change_set"
PLAN = "safe_clear_plan"
INDEX = "idx_safe_clear_plan_change_set_id"


def _schema() -> str | None:
    schema: str | None = op.get_context().opts["target_metadata"].schema
    return schema


def upgrade() -> None:
    """Create the table, and let plans belong to a set. Existing plans belong to no set."""
    schema = _schema()
    op.create_table(
        TABLE,
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("made_from", sa.JSON(), nullable=False),
        sa.Column("left_out", sa.JSON(), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created_by", sa.String(512), nullable=False),
        sa.Column("created_by_name", sa.String(512), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("applied_by", sa.String(512)),
        sa.Column("applied_by_name", sa.String(512)),
        sa.Column("applied_at", UtcDateTime),
        schema=schema,
    )
    op.add_column(PLAN, sa.Column("change_set_id", sa.Uuid()), schema=schema)
    op.add_column(PLAN, sa.Column("position", sa.Integer()), schema=schema)
    op.create_index(INDEX, PLAN, ["change_set_id", "position"], schema=schema)


def downgrade() -> None:
    """Drop the table and the columns. The plans stay as single plans."""
    op.drop_index(INDEX, table_name=PLAN, schema=_schema())
    with op.batch_alter_table(PLAN, schema=_schema()) as batch:
        batch.drop_column("position")
        batch.drop_column("change_set_id")
    op.drop_table(TABLE, schema=_schema())
