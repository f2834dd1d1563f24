"""The task instances behind a finding, as they are now."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth.permissions import BaseUser
from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.airflow_api.platform.joins import hash_joins, look_up_rows
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.findings.registry import CHECKS, TASK_LISTS
from safe_clear_plugin.findings.suggested_changes import SUGGESTED_CHANGES
from safe_clear_plugin.findings.task_lists import find_rows
from safe_clear_plugin.services.authorization import readable_dag_ids
from safe_clear_plugin.services.time_limit import reading_time
from safe_clear_plugin.storage.findings import affected_task_instances
from safe_clear_plugin.storage.findings.affected_queries import (
    AFFECTED_QUERIES,
    CHANGE_EFFECTS,
    DOWNSTREAM_CODES,
)
from safe_clear_plugin.storage.findings.affected_task_instances import AffectedRow

__all__ = [
    "AffectedRow",
    "FindingRows",
    "cause_heading",
    "finding_with_rows",
    "has_rows",
    "lists_runs",
    "names_dags",
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
    return bool(finding.rows) and (finding.code in AFFECTED_QUERIES or finding.code in TASK_LISTS)


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
    plan: PlanSummary,
    code: str,
    user: BaseUser,
    session: Session,
    *,
    offset: int,
    limit: int,
    or_first: bool = False,
) -> FindingRows:
    """Return a page of them; with ``or_first`` the first one where there are not as many as ``offset``.

    Other DAGs are named only if the user may read them.

    :raises Refused: 503 when it takes longer than the findings of a preview may take
    """
    plan_id = UUID(plan.id)
    look_up_rows(session)
    with reading_time(session):
        by_task = find_rows(TASK_LISTS[code], plan_id, session) if code in TASK_LISTS else None
        query = by_task.query if by_task else None
        total = (
            by_task.total
            if by_task
            else affected_task_instances.count_affected(code, plan_id, plan.dag_id, session)
        )
        if or_first and offset >= total:
            offset = 0
        # A plan's tasks are compared with a list of them, which PostgreSQL may think short.
        with hash_joins(session) if by_task else nullcontext():
            rows = affected_task_instances.affected_rows(
                code, plan_id, plan.dag_id, session, query=query, offset=offset, limit=limit
            )
    if by_task:
        rows = [by_task.with_details(row) for row in rows]
        if TASK_LISTS[code].names_dags:
            rows = _readable(rows, plan.dag_id, user, session)
    return FindingRows(rows, total, offset)


def _readable(
    rows: Sequence[AffectedRow], dag_id: str, user: BaseUser, session: Session
) -> list[AffectedRow]:
    """Leave out the ids of DAGs that the user may not know of."""
    named = {name for row in rows for name in row.details} - {dag_id}
    known = {dag_id, *(readable_dag_ids(named, user, session) if named else ())}
    return [
        row if known.issuperset(row.details) else replace(row, details=(), is_hidden=True) for row in rows
    ]


def cause_heading(finding: Finding) -> str:
    """Return the heading of the column with the cause or the details of each row."""
    if listed := TASK_LISTS.get(finding.code):
        return listed.heading
    if finding.code in DOWNSTREAM_CODES:
        return "Downstream of"
    return "Change" if finding.code in CHANGE_EFFECTS else "Because of"


def lists_runs(finding: Finding) -> bool:
    """Whether dag runs are listed too."""
    return finding.code in TASK_LISTS and TASK_LISTS[finding.code].lists_runs


def names_dags(finding: Finding) -> bool:
    """Whether the details of the rows are ids of DAGs."""
    return finding.code in TASK_LISTS and TASK_LISTS[finding.code].names_dags


def suggested_changes(finding: Finding) -> list[tuple[str, str]]:
    """Return field and button of each change to the selection that the finding suggests."""
    return [(field, text) for field, text in SUGGESTED_CHANGES.items() if field in finding.widen]


def other_checks(plan: PlanSummary) -> list[str]:
    """Return what the checks look for that found nothing in the plan."""
    told = {*(finding.code for finding in plan.findings), *plan.findings_not_checked}
    return [check.looks_for for check in CHECKS if check.code not in told]
