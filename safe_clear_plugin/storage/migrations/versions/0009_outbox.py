"""The outbox: what the webhook is told of plans.

Revision ID: 5afec1ea0009
Revises: 5afec1ea0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from safe_clear_plugin.airflow_api.platform.airflow_tables import UtcDateTime

revision = "5afec1ea0009"
down_revision = "5afec1ea0008"
branch_labels = None
depends_on = None

TABLE = "safe_clear_message"
INDEX = "idx_safe_clear_message_delivery_next_attempt_at"


def _schema() -> str | None:
    schema: str | None = op.get_context().opts["target_metadata"].schema
    return schema


def upgrade() -> None:
    """Create the table; of what happened before, nothing is told."""
    schema = _schema()
    plan_id = f"{schema}.safe_clear_plan.id" if schema else "safe_clear_plan.id"
    op.create_table(
        TABLE,
        sa.Column(
            "plan_id",
            sa.Uuid(),
            sa.ForeignKey(plan_id, ondelete="CASCADE"),
            primary_key=True,
            nullable=False,
        ),
        sa.Column("number", sa.Integer(), primary_key=True, nullable=False, autoincrement=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("event", sa.String(30), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("delivery", sa.String(20), nullable=False),
        sa.Column("next_attempt_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("lease", sa.Uuid()),
        sa.Column("delivered_at", UtcDateTime),
        sa.Column("problem", sa.String(20)),
        sa.Column("http_status", sa.Integer()),
        schema=schema,
    )
    op.create_index(INDEX, TABLE, ["delivery", "next_attempt_at"], schema=schema)


def downgrade() -> None:
    """Drop it; what was not delivered is never sent."""
    op.drop_table(TABLE, schema=_schema())
