"""Outcomes: what the scheduler is foreseen to make of what a plan clears. Partitions of its dag runs.

Revision ID: 5afec1ea0006
Revises: 5afec1ea0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from safe_clear_plugin.airflow_api.platform.airflow_tables import StringID, UtcDateTime

revision = "5afec1ea0006"
down_revision = "5afec1ea0005"
branch_labels = None
depends_on = None

ROWS = ("safe_clear_plan_run", "safe_clear_plan_task_instance")


def upgrade() -> None:
    """Add the columns; plans that are there have no outcomes."""
    schema = _schema()
    for table in ROWS:
        op.add_column(table, sa.Column("outcome", sa.String(20)), schema=schema)
        op.add_column(table, sa.Column("outcome_reason", sa.String(40)), schema=schema)
    op.add_column("safe_clear_plan_run", sa.Column("is_verified", sa.Boolean()), schema=schema)
    op.add_column("safe_clear_plan", sa.Column("outcomes", sa.JSON()), schema=schema)
    for column in (sa.Column("partition_key", StringID()), sa.Column("partition_date", UtcDateTime)):
        op.add_column("safe_clear_plan_run", column, schema=schema)


def downgrade() -> None:
    """Drop them."""
    schema = _schema()
    with op.batch_alter_table("safe_clear_plan_run", schema=schema) as batch:
        batch.drop_column("partition_key")
        batch.drop_column("partition_date")
    for table in ROWS:
        with op.batch_alter_table(table, schema=schema) as batch:
            batch.drop_column("outcome")
            batch.drop_column("outcome_reason")
    with op.batch_alter_table("safe_clear_plan_run", schema=schema) as batch:
        batch.drop_column("is_verified")
    with op.batch_alter_table("safe_clear_plan", schema=schema) as batch:
        batch.drop_column("outcomes")


def _schema() -> str | None:
    schema: str | None = op.get_context().opts["target_metadata"].schema
    return schema
