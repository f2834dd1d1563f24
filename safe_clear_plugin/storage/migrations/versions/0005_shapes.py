"""Shapes: DAG versions of which the same tasks are taken share their rows; checks that took too long.

Revision ID: 5afec1ea0005
Revises: 5afec1ea0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from safe_clear_plugin.airflow_api.platform.airflow_tables import StringID

revision = "5afec1ea0005"
down_revision = "5afec1ea0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and replace the two tables: each preview computes their rows again."""
    schema = _schema()
    op.add_column("safe_clear_plan", sa.Column("findings_not_checked", sa.JSON()), schema=schema)
    op.add_column("safe_clear_plan_run", sa.Column("shape", sa.Integer()), schema=schema)
    _make_anew("safe_clear_plan_task", *_task_columns(_number_in_key("shape")))
    _make_anew(
        "safe_clear_plan_relation",
        _number_in_key("shape"),
        sa.Column("task_id", StringID(), primary_key=True),
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("related_task_id", StringID(), primary_key=True),
        sa.Column("same_map_index", sa.Boolean(), nullable=False, server_default=sa.false()),
    )


def downgrade() -> None:
    """Make them as they were."""
    schema = _schema()
    _make_anew(
        "safe_clear_plan_task", *_task_columns(sa.Column("dag_version_id", sa.Uuid(), primary_key=True))
    )
    _make_anew(
        "safe_clear_plan_relation",
        sa.Column("dag_version_id", sa.Uuid(), primary_key=True),
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("related_task_id", StringID(), primary_key=True),
        sa.Column("task_id", StringID(), primary_key=True),
        sa.Column("same_map_index", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_index(
        "idx_safe_clear_plan_relation_task_id",
        "safe_clear_plan_relation",
        ["plan_id", "dag_version_id", "task_id"],
        schema=schema,
    )
    for table, column in (("safe_clear_plan_run", "shape"), ("safe_clear_plan", "findings_not_checked")):
        with op.batch_alter_table(table, schema=schema) as batch:
            batch.drop_column(column)


def _number_in_key(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Integer(), primary_key=True, autoincrement=False)


def _task_columns(first: sa.Column[object]) -> list[sa.Column[object]]:
    return [
        first,
        sa.Column("task_id", StringID(), primary_key=True),
        _number_in_key("map_index"),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
    ]


def _make_anew(name: str, *columns: sa.Column[object]) -> None:
    schema = _schema()
    target = f"{schema}.safe_clear_plan.id" if schema else "safe_clear_plan.id"
    plan_id = sa.Column("plan_id", sa.Uuid(), sa.ForeignKey(target, ondelete="CASCADE"), primary_key=True)
    op.drop_table(name, schema=schema)
    op.create_table(name, plan_id, *columns, schema=schema)


def _schema() -> str | None:
    schema: str | None = op.get_context().opts["target_metadata"].schema
    return schema
