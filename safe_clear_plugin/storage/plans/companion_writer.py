"""Writing the setups and teardowns of what a plan clears, where a state filter has left them out."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.selection.select_task_instances import companions_select
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.storage.plans.plan_writer import insert_chosen
from safe_clear_plugin.storage.tables import (
    ALL_MAP_INDEXES,
    plan_relation,
    plan_run,
    plan_task,
    plan_task_instance,
)


def insert_companions(
    plan_id: UUID, selection: Selection, latest: UUID, session: Session, *, known: bool
) -> int:
    """Write a row per setup and teardown of what is written, in any state; returns how many.

    The relations say which tasks these serve. ``known`` as for :func:`insert_task_instances`.
    """
    chosen = companions_select(
        plan_id,
        selection,
        latest,
        runs=plan_run,
        tasks=plan_task,
        relations=plan_relation,
        planned=plan_task_instance,
        all_map_indexes=ALL_MAP_INDEXES,
        known=known,
    )
    return insert_chosen(plan_task_instance, chosen, session)
