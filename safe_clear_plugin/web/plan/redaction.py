"""What of a plan its reader may see: its findings point to other DAGs, of which not everyone may know."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth import permissions
from safe_clear_plugin.airflow_api.auth.teams import dags_by_id
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.plan_text import count
from safe_clear_plugin.web.app.identity import caller


def for_reader(plan: PlanSummary, session: Session) -> PlanSummary:
    """Return the plan with those links only to DAGs that the caller may read; others are counted."""
    others = {
        link.id
        for finding in plan.findings
        for link in finding.links
        if link.kind == "dag" and link.id != plan.dag_id
    }
    if not others:
        return plan
    found = permissions.readable_dags(dags_by_id(sorted(others), session), caller().user, session)
    readable = {plan.dag_id, *(dag.dag_id for dag in found.dags)}
    return replace(plan, findings=tuple(_readable(finding, readable) for finding in plan.findings))


def _readable(finding: Finding, dag_ids: set[str]) -> Finding:
    links = tuple(link for link in finding.links if link.kind != "dag" or link.id in dag_ids)
    hidden = len(finding.links) - len(links)
    if not hidden:
        return finding
    more = f"You can't see {count(hidden, 'Dag')} of these."
    return replace(finding, links=links, detail=f"{finding.detail} {more}")
