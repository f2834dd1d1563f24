"""A clear and its undo in a process of its own: Airflow reads the schema of its tables once.

It prints its answer as JSON. Run by ``test_schema.py``, with the environment that names database and schema.
"""

from __future__ import annotations

import json
import sys
from uuid import UUID

from airflow import settings
from airflow.models.tasklog import LogTemplate
from airflow.utils.db import upgradedb
from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from safe_clear_plugin.services.undo.undo_preview import preview_undo
from safe_clear_plugin.storage.db_manager import SafeClearDBManager
from safe_clear_plugin.storage.plans import plan_reader, statistics
from safe_clear_plugin.storage.tables import metadata, plan_task_instance
from tests.db.acting import clear, days, now, undo
from tests.support.scenes import store_etl
from tests.support.statements import statements


def add_log_template(session: Session) -> None:
    """Add the row that dag runs refer to: Airflow adds it only where the search path finds the table."""
    if session.scalar(select(LogTemplate.id).limit(1)) is None:
        session.add(LogTemplate(filename="{{ ti.task_id }}.log", elasticsearch_id="{{ ti.task_id }}"))
        session.commit()


def play() -> dict[str, object]:
    """Migrate twice, as after an upgrade, then clear and undo a plan that is large enough for statistics."""
    upgradedb()
    upgradedb()
    statistics.SMALL = 10
    with settings.NonScopedSession() as session, statements(session) as sent:
        add_log_template(session)
        store_etl(session, runs=8)
        plan = clear(days(1, 8))
        foreseen = preview_undo(plan, now())
        done = undo(plan)
        schema = plan_task_instance.schema
        return {
            "schema": schema,
            "tables": plan_reader.tables_exist(session),
            "current": SafeClearDBManager(session).check_migration(),
            "missing": sorted(
                {table.name for table in metadata.sorted_tables}
                - set(inspect(session.connection()).get_table_names(schema=schema))
            ),
            "cleared": plan.cleared,
            "foreseen": foreseen.put_back,
            "put back": done.put_back,
            "rows": plan_reader.get(UUID(plan.id), session).task_instances,
            "analyzed": sorted({one.split()[2] for one in sent if one.startswith("ANALYZE")}),
        }


if __name__ == "__main__":
    json.dump(play(), sys.stdout)
