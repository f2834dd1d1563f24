"""The driver: when a plan's next step is due, which driver has it, and in whose name.

Revision ID: 5afec1ea0007
Revises: 5afec1ea0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from safe_clear_plugin.airflow_api.platform.airflow_tables import UtcDateTime

revision = "5afec1ea0007"
down_revision = "5afec1ea0006"
branch_labels = None
depends_on = None

INDEX = "idx_safe_clear_plan_next_step_at"
INTERRUPTED = {
    "kind": "interrupted",
    "reason": "The clear was interrupted.",
    "remedy": "Each dag run was cleared completely or not at all.",
}


def _columns() -> list[sa.Column[object]]:
    return [
        sa.Column("next_step_at", UtcDateTime),
        sa.Column("lease_owner", sa.String(500)),
        sa.Column("leased_until", UtcDateTime),
        sa.Column("requested_by", sa.String(512)),
        sa.Column("requested_by_name", sa.String(512)),
        sa.Column("request_reason", sa.Text()),
    ]


def upgrade() -> None:
    """Add the columns. What a page had under way stops here: no driver goes on with it by itself."""
    schema = _schema()
    for column in _columns():
        op.add_column("safe_clear_plan", column, schema=schema)
    op.create_index(INDEX, "safe_clear_plan", ["next_step_at"], schema=schema)
    plan = sa.table(
        "safe_clear_plan",
        sa.column("id", sa.Uuid()),
        sa.column("status", sa.String()),
        sa.column("problem", sa.JSON()),
        sa.column("finished_at", UtcDateTime()),
        sa.column("last_step_at", UtcDateTime()),
        sa.column("undo_asked_runs", sa.Integer()),
        sa.column("undone_runs", sa.Integer()),
        schema=schema,
    )
    stopped = {"status": "stopped", "problem": INTERRUPTED, "finished_at": plan.c.last_step_at}
    op.execute(plan.update().where(plan.c.status == "applying").values(stopped))
    undoing = plan.c.undo_asked_runs > plan.c.undone_runs
    run = sa.table(
        "safe_clear_plan_run",
        sa.column("plan_id", sa.Uuid()),
        sa.column("undo_asked_at", UtcDateTime()),
        sa.column("undone_at", UtcDateTime()),
        schema=schema,
    )
    left = (run.c.plan_id.in_(sa.select(plan.c.id).where(undoing)), run.c.undone_at.is_(None))
    op.execute(run.update().where(*left).values(undo_asked_at=None))
    op.execute(plan.update().where(undoing).values(undo_asked_runs=plan.c.undone_runs))


def downgrade() -> None:
    """Drop them."""
    schema = _schema()
    op.drop_index(INDEX, "safe_clear_plan", schema=schema)
    with op.batch_alter_table("safe_clear_plan", schema=schema) as batch:
        for column in _columns():
            batch.drop_column(column.name)


def _schema() -> str | None:
    schema: str | None = op.get_context().opts["target_metadata"].schema
    return schema
