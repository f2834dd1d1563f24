"""Waves: how a clear is paced, how it stands, and what has become of the dag runs that it cleared.

Revision ID: 5afec1ea0008
Revises: 5afec1ea0007
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "5afec1ea0008"
down_revision = "5afec1ea0007"
branch_labels = None
depends_on = None

COLUMNS: dict[str, dict[str, sa.types.TypeEngine[Any]]] = {
    "safe_clear_plan": {
        "waves": sa.JSON(),
        "wave_state": sa.String(20),
        "wave_reason": sa.String(30),
        "first_runs_passed": sa.Boolean(),
    },
    "safe_clear_plan_run": {"rerun": sa.String(20), "failure_skipped": sa.Boolean()},
}


def upgrade() -> None:
    """Add the columns; plans that are there are cleared all at once."""
    for table, columns in COLUMNS.items():
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind), schema=_schema())


def downgrade() -> None:
    """Drop them."""
    for table, columns in COLUMNS.items():
        with op.batch_alter_table(table, schema=_schema()) as batch:
            for name in columns:
                batch.drop_column(name)


def _schema() -> str | None:
    schema: str | None = op.get_context().opts["target_metadata"].schema
    return schema
