"""Consequences: how the cleared tasks are related to others, what becomes of them, who approved, whose.

Revision ID: 5afec1ea0003
Revises: 5afec1ea0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from safe_clear_plugin.airflow_api.platform.airflow_tables import StringID, UtcDateTime

revision = "5afec1ea0003"
down_revision = "5afec1ea0002"
branch_labels = None
depends_on = None


def _new_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("estimate", sa.JSON()),
        sa.Column("acknowledged", sa.JSON()),
        sa.Column("approval_asked_at", UtcDateTime),
        sa.Column("approved_by", sa.String(512)),
        sa.Column("approved_by_name", sa.String(512)),
        sa.Column("declined_by", sa.String(512)),
        sa.Column("declined_by_name", sa.String(512)),
        sa.Column("declined_at", UtcDateTime),
        sa.Column("decline_reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("team_name", sa.String(50)),
    ]


def _schema() -> str | None:
    schema: str | None = op.get_context().opts["target_metadata"].schema
    return schema


def upgrade() -> None:
    """Add the columns and the table."""
    schema = _schema()
    for column in _new_columns():
        op.add_column("safe_clear_plan", column, schema=schema)
    foreseen = sa.Column("foreseen_state", sa.String(20))
    op.add_column("safe_clear_plan_task_instance", foreseen, schema=schema)
    target = f"{schema}.safe_clear_plan.id" if schema else "safe_clear_plan.id"
    op.create_table(
        "safe_clear_plan_relation",
        sa.Column("plan_id", sa.Uuid(), sa.ForeignKey(target, ondelete="CASCADE"), primary_key=True),
        sa.Column("dag_version_id", sa.Uuid(), primary_key=True),
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("related_task_id", StringID(), primary_key=True),
        sa.Column("task_id", StringID(), primary_key=True),
        sa.Column("same_map_index", sa.Boolean(), nullable=False, server_default=sa.false()),
        schema=schema,
    )
    op.create_index(
        "idx_safe_clear_plan_relation_task_id",
        "safe_clear_plan_relation",
        ["plan_id", "dag_version_id", "task_id"],
        schema=schema,
    )


def downgrade() -> None:
    """Drop them again."""
    schema = _schema()
    op.drop_table("safe_clear_plan_relation", schema=schema)
    with op.batch_alter_table("safe_clear_plan_task_instance", schema=schema) as batch:
        batch.drop_column("foreseen_state")
    with op.batch_alter_table("safe_clear_plan", schema=schema) as batch:
        for column in _new_columns():
            batch.drop_column(column.name)
