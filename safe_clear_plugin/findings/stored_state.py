"""Cleared task instances that go on with a stored job, and assets with a watermark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from safe_clear_plugin.airflow_api.dag.outlets_and_triggers import Asset, stored_assets
from safe_clear_plugin.airflow_api.scheduling import stored_state
from safe_clear_plugin.core.finding import NOT_AFFECTED, Affected, Finding
from safe_clear_plugin.core.formats import count, join_some, verb
from safe_clear_plugin.core.outcomes import Outcome
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.links import asset_links
from safe_clear_plugin.findings.wording import in_runs, join_tasks
from safe_clear_plugin.storage.findings import affected_task_instances, later_outcomes


@dataclass(frozen=True, slots=True)
class StoredStateFacts:
    """The task instances that find state of an earlier try, and the assets that have some."""

    resumed: Affected = NOT_AFFECTED
    resumed_mapped: int = 0
    """The number of them with a map index."""
    assets: tuple[Asset, ...] = ()
    """Assets of the tasks that have stored state."""


def collect_facts(plan: PlanContext) -> StoredStateFacts:
    """Count the outcomes that the area of outcomes has written, and look for the state of assets."""
    if not plan.traces.task_state:
        return StoredStateFacts(assets=_assets(plan))
    resumed = affected_task_instances.count_by_task("resumes_job", plan.plan_id, plan.dag_id, plan.session)
    mapped = later_outcomes.count_mapped(plan.plan_id, Outcome.RESUMES, plan.session) if resumed.count else 0
    return StoredStateFacts(resumed, mapped, _assets(plan))


def _assets(plan: PlanContext) -> tuple[Asset, ...]:
    """Return the assets with stored state that the tasks of the plan read or update."""
    if not plan.traces.asset_state:
        return ()
    found: dict[int, Asset] = {}
    for shape in plan.shapes:
        planned = plan.planned_tasks.get(shape.number)
        if planned and (dag := shape.version.dag) is not None:
            tasks: list[Any] = [dag.get_task(task_id) for task_id in shape.tasks_among(planned.pending)]
            found |= {asset.id: asset for asset in stored_assets(tasks, plan.session)}
    stored = stored_state.assets_with_state(found, plan.session)
    return tuple(sorted((found[id_] for id_ in stored), key=lambda asset: asset.name))


def resumes_job(facts: StoredStateFacts) -> Finding | None:
    """Find what goes on with the job that an earlier try started, instead of starting its own."""
    resumed = facts.resumed
    if not resumed.count:
        return None
    mapped = facts.resumed_mapped
    indexes = (
        f" {mapped:,} of them {verb(mapped, 'has', 'have')} a map index: if the mapping has other items now, "
        "the job may be that of another item."
        if mapped
        else ""
    )
    return Finding(
        "resumes_job",
        "warn",
        f"{count(resumed.count, 'task instance')} will go on with stored state: "
        f"{join_tasks(resumed.tasks)} {in_runs(resumed.runs)}",
        "The task state store keeps what earlier tries left there. A durable task resumes its old job. "
        f"If that job has succeeded, the task does nothing again.{indexes}",
        resumed.count,
        remedy="To start again from nothing, pause the Dag, clear, send "
        "`DELETE /api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/"
        "state-store?all_map_indices=true`, then unpause it.",
        rows=True,
    )


def asset_state(facts: StoredStateFacts) -> Finding | None:
    """Find assets with a watermark, which an old run takes for its own."""
    if not facts.assets:
        return None
    number = len(facts.assets)
    names = join_some([f"`{asset.name}`" for asset in facts.assets], "asset")
    return Finding(
        "asset_state",
        "warn",
        f"{count(number, 'asset')} of the cleared tasks {verb(number, 'has', 'have')} stored state",
        f"The asset state store has values for {names}. All runs share them. A task that keeps a watermark "
        "there may find nothing to load for an earlier date.",
        number,
        remedy="Check the stored values, and set them back if the tasks should load earlier data again.",
        links=asset_links(facts.assets),
    )


AREA = Area(
    "stored_state",
    collect_facts,
    (
        Check("resumes_job", "state stored by earlier tries", resumes_job),
        Check("asset_state", "stored state of assets", asset_state),
    ),
)
