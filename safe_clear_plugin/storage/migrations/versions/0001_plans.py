"""Plans: what would be cleared, a row per dag run and per task instance.

Revision ID: 5afec1ea0001
Revises:
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from safe_clear_plugin.airflow_api.platform.airflow_tables import StringID, UtcDateTime

revision = "5afec1ea0001"
down_revision = None
branch_labels = None
depends_on = None


def _schema() -> str | None:
    schema: str | None = op.get_context().opts["target_metadata"].schema
    return schema


def _plan_id() -> sa.Column[Any]:
    schema = _schema()
    target = f"{schema}.safe_clear_plan.id" if schema else "safe_clear_plan.id"
    return sa.Column("plan_id", sa.Uuid(), sa.ForeignKey(target, ondelete="CASCADE"), primary_key=True)


def upgrade() -> None:
    """Create the four tables."""
    schema = _schema()
    op.create_table(
        "safe_clear_plan",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("dag_id", StringID(), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("selection", sa.JSON(), nullable=False),
        sa.Column("run_on_latest_version", sa.Boolean(), nullable=False),
        sa.Column("dag_versions", sa.JSON(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("task_instances", sa.Integer(), nullable=False),
        sa.Column("dag_runs", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(512), nullable=False),
        sa.Column("created_by_name", sa.String(512), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("applied_by", sa.String(512)),
        sa.Column("applied_by_name", sa.String(512)),
        sa.Column("applied_at", UtcDateTime),
        sa.Column("finished_at", UtcDateTime),
        sa.Column("problem", sa.JSON()),
        schema=schema,
    )
    op.create_index(
        "idx_safe_clear_plan_dag_id_created_at", "safe_clear_plan", ["dag_id", "created_at"], schema=schema
    )
    op.create_index(
        "idx_safe_clear_plan_status_expires_at", "safe_clear_plan", ["status", "expires_at"], schema=schema
    )
    op.create_table(
        "safe_clear_plan_run",
        _plan_id(),
        sa.Column("run_id", StringID(), primary_key=True),
        sa.Column("dag_run_id", sa.Integer(), nullable=False),
        sa.Column("logical_date", UtcDateTime),
        sa.Column("run_after", UtcDateTime, nullable=False),
        sa.Column("run_type", sa.String(50), nullable=False),
        sa.Column("state", sa.String(50)),
        sa.Column("clear_number", sa.Integer(), nullable=False),
        sa.Column("dag_version_id", sa.Uuid()),
        sa.Column("bundle_version", StringID()),
        sa.Column("uses_dag_version_id", sa.Uuid(), nullable=False),
        sa.Column("moves_to_latest", sa.Boolean(), nullable=False),
        sa.Column("after_state", sa.String(50)),
        sa.Column("after_dag_version_id", sa.Uuid()),
        sa.Column("after_bundle_version", StringID()),
        sa.Column("task_instances", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("applied_at", UtcDateTime),
        schema=schema,
    )
    op.create_table(
        "safe_clear_plan_task",
        _plan_id(),
        sa.Column("dag_version_id", sa.Uuid(), primary_key=True),
        sa.Column("task_id", StringID(), primary_key=True),
        sa.Column("map_index", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        schema=schema,
    )
    op.create_table(
        "safe_clear_plan_task_instance",
        # No foreign key: it is looked up for every row, which takes as long as writing the rows.
        sa.Column("plan_id", sa.Uuid(), primary_key=True),
        sa.Column("run_id", StringID(), primary_key=True),
        sa.Column("task_id", StringID(), primary_key=True),
        sa.Column("map_index", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("task_instance_id", sa.Uuid()),
        sa.Column("state", sa.String(20)),
        sa.Column("try_number", sa.Integer()),
        sa.Column("dag_version_id", sa.Uuid()),
        sa.Column("effect", sa.String(20), nullable=False),
        sa.Column("after_state", sa.String(20)),
        sa.Column("after_max_tries", sa.Integer()),
        sa.Column("after_dag_version_id", sa.Uuid()),
        sa.Column("why", sa.Text(), nullable=False),
        schema=schema,
    )


def downgrade() -> None:
    """Drop the four tables, plans and receipts with them."""
    schema = _schema()
    for table in ("task_instance", "task", "run"):
        op.drop_table(f"safe_clear_plan_{table}", schema=schema)
    op.drop_table("safe_clear_plan", schema=schema)
