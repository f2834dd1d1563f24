"""The task instances behind a finding, as they are now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.findings.registry import CHECKS
from safe_clear_plugin.findings.suggested_changes import SUGGESTED_CHANGES
from safe_clear_plugin.services.planning.time_limit import reading_time
from safe_clear_plugin.storage.findings import affected_task_instances
from safe_clear_plugin.storage.findings.affected_queries import AFFECTED_QUERIES, DOWNSTREAM_CODES
from safe_clear_plugin.storage.findings.affected_task_instances import AffectedRow

__all__ = [
    "AffectedRow",
    "FindingRows",
    "finding_with_rows",
    "has_rows",
    "is_downstream",
    "other_checks",
    "read_rows",
    "suggested_changes",
]


@dataclass(frozen=True, slots=True)
class FindingRows:
    """A page of the task instances behind a finding."""

    rows: Sequence[AffectedRow]
    total: int
    offset: int


def has_rows(finding: Finding) -> bool:
    """Whether the task instances behind the finding can be listed."""
    return bool(finding.rows) and finding.code in AFFECTED_QUERIES


def finding_with_rows(plan: PlanSummary, code: str) -> Finding:
    """Return the finding of the plan.

    :raises Refused: 404 when the plan has no such finding, or none with task instances behind it; 409 where
        Airflow's tables are not known
    """
    compatibility.require_known_tables()
    for finding in plan.findings:
        if finding.code == code and has_rows(finding):
            return finding
    raise Refused(
        404,
        Problem("The plan has no finding with this code that lists task instances.", "Open the plan's page."),
    )


def read_rows(
    plan: PlanSummary, code: str, session: Session, *, offset: int, limit: int, or_first: bool = False
) -> FindingRows:
    """Return a page of them; with ``or_first`` the first one where there are not as many as ``offset``.

    :raises Refused: 503 when it takes longer than the findings of a preview may take
    """
    plan_id = UUID(plan.id)
    with reading_time(session):
        total = affected_task_instances.count_affected(code, plan_id, plan.dag_id, session)
        if or_first and offset >= total:
            offset = 0
        rows = affected_task_instances.affected_rows(
            code, plan_id, plan.dag_id, session, offset=offset, limit=limit
        )
    return FindingRows(rows, total, offset)


def is_downstream(finding: Finding) -> bool:
    """Whether the task instances behind the finding are downstream of what is cleared."""
    return finding.code in DOWNSTREAM_CODES


def suggested_changes(finding: Finding) -> list[tuple[str, str]]:
    """Return field and button of each change to the selection that the finding suggests."""
    return [(field, text) for field, text in SUGGESTED_CHANGES.items() if field in finding.widen]


def other_checks(plan: PlanSummary) -> list[str]:
    """Return what the checks look for that found nothing in the plan."""
    told = {*(finding.code for finding in plan.findings), *plan.findings_not_checked}
    return [check.looks_for for check in CHECKS if check.code not in told]
