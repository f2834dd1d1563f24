"""Finds out what the cleared tasks set off elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from safe_clear_plugin.airflow_api.dag import external_sensors, outlets_and_triggers
from safe_clear_plugin.core.findings import FiringFacts
from safe_clear_plugin.core.findings.side_effects import OtherDag, Outlet
from safe_clear_plugin.services.facts.context import PlanContext
from safe_clear_plugin.services.facts.workload import Workload, task_of


def facts(plan: PlanContext, workload: Workload) -> FiringFacts:
    """Look at the tasks as their DAG versions have them."""
    pairs = [(count, task) for count in workload.counts if (task := task_of(count, plan)) is not None]
    tasks = [task for _, task in pairs]
    found, aliases = outlets_and_triggers.outlet_assets(tasks, plan.session)
    triggers = list(outlets_and_triggers.triggers(tasks))
    triggering = {trigger.task_id for trigger in triggers}
    task_ids = {count.task_id for count in workload.counts}
    waiting = (
        external_sensors.waiting_dag_ids(plan.selection.dag_id, task_ids, plan.session) if task_ids else ()
    )
    return FiringFacts(
        updates=sum(count.instances for count, task in pairs if outlets_and_triggers.has_outlets(task)),
        outlets=(
            *(Outlet(asset.id, asset.name) for asset in found),
            *(Outlet(None, name, alias=True) for name in aliases),
        ),
        consumers=_others(outlets_and_triggers.consumers(found, aliases, plan.session)),
        triggering=sum(count.instances for count, _ in pairs if count.task_id in triggering),
        triggered=_known({t.dag_id for t in triggers if t.dag_id is not None}, plan),
        templated=_tasks(t.task_id for t in triggers if t.dag_id is None),
        fixed_runs=_tasks(t.task_id for t in triggers if t.fixed_run),
        waiting=_known(waiting, plan),
        marked=_known(outlets_and_triggers.marked_dag_ids(tasks), plan),
    )


def _known(dag_ids: Iterable[str], plan: PlanContext) -> tuple[OtherDag, ...]:
    return _others(outlets_and_triggers.dags_in_use(set(dag_ids), plan.session), needs=False)


def _others(rows: Iterable[Any], *, needs: bool = True) -> tuple[OtherDag, ...]:
    return tuple(
        OtherDag(row.dag_id, row.is_paused, "needs other assets too" if needs and row.needs_more else "")
        for row in rows
    )


def _tasks(task_ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(task_ids)))
