"""Undo: before-images of Airflow's rows, and what each transaction of a plan did.

Revision ID: 5afec1ea0002
Revises: 5afec1ea0001
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from safe_clear_plugin.airflow_api.platform.airflow_tables import (
    UtcDateTime,
    dag_run,
    deadline,
    task_instance,
    task_reschedule,
)

revision = "5afec1ea0002"
down_revision = "5afec1ea0001"
branch_labels = None
depends_on = None

# Airflow's tables whose rows are kept, and the key of each within a plan.
MIRRORED = (
    (task_instance, ("run_id", "task_id", "map_index")),
    (dag_run, ("id",)),
    (task_reschedule, ("ti_id", "id")),
    (deadline, ("id",)),
)

NEW_COLUMNS = {
    "safe_clear_plan": {
        "last_step_at": UtcDateTime(),
        "batches": sa.Integer(),
        "cleared": sa.Integer(),
        "cleared_runs": sa.Integer(),
        "put_back": sa.Integer(),
        "stayed": sa.Integer(),
        "undo_asked_runs": sa.Integer(),
        "undone_runs": sa.Integer(),
        "airflow_version": sa.String(50),
    },
    "safe_clear_plan_run": {
        "batch": sa.Integer(),
        "undo_asked_at": UtcDateTime(),
        "undone_at": UtcDateTime(),
        "undo_batch": sa.Integer(),
        "put_back": sa.Boolean(),
    },
    "safe_clear_plan_task_instance": {
        "new_task_instance_id": sa.Uuid(),
        "had_history": sa.Boolean(),
        "undo": sa.String(20),
        "undo_state": sa.String(20),
    },
}
COUNTERS = {"batches", "cleared", "cleared_runs", "stayed", "undo_asked_runs", "undone_runs"}


def _schema() -> str | None:
    schema: str | None = op.get_context().opts["target_metadata"].schema
    return schema


def _plan_id() -> sa.Column[Any]:
    schema = _schema()
    target = f"{schema}.safe_clear_plan.id" if schema else "safe_clear_plan.id"
    return sa.Column("plan_id", sa.Uuid(), sa.ForeignKey(target, ondelete="CASCADE"), primary_key=True)


def _column(table: str, name: str, type_: Any) -> sa.Column[Any]:
    if name == "had_history":
        return sa.Column(name, type_, nullable=False, server_default=sa.false())
    if name in COUNTERS or (table, name) == ("safe_clear_plan", "put_back"):
        return sa.Column(name, type_, nullable=False, server_default="0")
    return sa.Column(name, type_)


def _mirror(live: sa.Table) -> str:
    return f"safe_clear_before_{live.name}"


def _mirror_columns(live: sa.Table, key: tuple[str, ...]) -> list[sa.Column[Any]]:
    """Return the columns of a table of Airflow's, its key first, as they were when this was written."""
    columns = [*(live.c[name] for name in key), *(column for column in live.c if column.name not in key)]
    return [
        sa.Column(
            column.name,
            sa.String(column.type.length) if isinstance(column.type, sa.Enum) else column.type,
            primary_key=column.name in key,
            nullable=column.name not in key,
            autoincrement=False,
        )
        for column in columns
    ]


def upgrade() -> None:
    """Add the columns and the five tables."""
    schema = _schema()
    for table, columns in NEW_COLUMNS.items():
        for name, type_ in columns.items():
            op.add_column(table, _column(table, name, type_), schema=schema)
    op.create_index("idx_safe_clear_plan_created_at", "safe_clear_plan", ["created_at"], schema=schema)
    op.create_table(
        "safe_clear_plan_batch",
        _plan_id(),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("actor_id", sa.String(512), nullable=False),
        sa.Column("actor_name", sa.String(512), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("dag_runs", sa.Integer(), nullable=False),
        sa.Column("task_instances", sa.Integer(), nullable=False),
        sa.Column("stayed", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("first_run", UtcDateTime, nullable=False),
        sa.Column("last_run", UtcDateTime, nullable=False),
        schema=schema,
    )
    # The columns are those of the Airflow that is installed; the DB manager adds what a later one brings.
    for live, key in MIRRORED:
        plan_id = sa.Column("plan_id", sa.Uuid(), primary_key=True)
        op.create_table(_mirror(live), plan_id, *_mirror_columns(live, key), schema=schema)


def downgrade() -> None:
    """Drop them again; what was cleared can then no longer be undone."""
    schema = _schema()
    for live, _ in MIRRORED:
        op.drop_table(_mirror(live), schema=schema)
    op.drop_table("safe_clear_plan_batch", schema=schema)
    op.drop_index("idx_safe_clear_plan_created_at", table_name="safe_clear_plan", schema=schema)
    for table, columns in NEW_COLUMNS.items():
        with op.batch_alter_table(table, schema=schema) as batch:
            for name in columns:
                batch.drop_column(name)
