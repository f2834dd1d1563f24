"""Holds a plan against the options that bound a clear."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.core.findings.limits import LimitFacts
from safe_clear_plugin.core.policy import Limits
from safe_clear_plugin.services.facts.context import PlanContext
from safe_clear_plugin.services.planning import protected_tasks
from safe_clear_plugin.services.planning.protected_tasks import Pattern, Unreadable
from safe_clear_plugin.storage.findings import task_counts


def facts(plan: PlanContext) -> LimitFacts:
    """Hold a plan in the making against the options as they are."""
    return against(config.limits(), plan.plan_id, plan.selection.dag_id, plan.task_instances, plan.session)


def against(limits: Limits, plan_id: UUID, dag_id: str, task_instances: int, session: Session) -> LimitFacts:
    """Hold a plan whose rows are written against these limits."""
    read = [protected_tasks.read(text) for text in limits.protected]
    patterns = [one for one in read if isinstance(one, Pattern)]
    tasks = [task for task in task_counts.tasks(plan_id, session) if task.changed] if patterns else []
    return LimitFacts(
        task_instances=task_instances,
        max_task_instances=limits.max_task_instances,
        protections=tuple(protected_tasks.find(patterns, dag_id, tasks)),
        unreadable=tuple(at for at, one in enumerate(read, start=1) if isinstance(one, Unreadable)),
    )
