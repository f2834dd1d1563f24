"""Pacing: until when the scheduler's lock is left to the schedulers.

Revision ID: 5afec1ea0004
Revises: 5afec1ea0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from safe_clear_plugin.airflow_api.platform.airflow_tables import UtcDateTime

revision = "5afec1ea0004"
down_revision = "5afec1ea0003"
branch_labels = None
depends_on = None


def _schema() -> str | None:
    schema: str | None = op.get_context().opts["target_metadata"].schema
    return schema


def upgrade() -> None:
    """Create the table, which gets its one row when the lock is first held."""
    op.create_table(
        "safe_clear_scheduler_pause",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("ends_at", UtcDateTime, nullable=False),
        schema=_schema(),
    )


def downgrade() -> None:
    """Drop it again."""
    op.drop_table("safe_clear_scheduler_pause", schema=_schema())
