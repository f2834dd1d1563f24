"""What a clear causes, as a list to go through, and the task instances behind each point of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear.audit_log import Actor
from safe_clear_plugin.airflow_api.platform import compatibility, config
from safe_clear_plugin.core import plan_text
from safe_clear_plugin.core.finding import Finding, Level, Link
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.findings.registry import CHECKS
from safe_clear_plugin.findings.suggested_changes import SUGGESTED_CHANGES
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.services.planning.time_limit import reading_time
from safe_clear_plugin.storage.findings import affected_task_instances
from safe_clear_plugin.storage.findings.affected_queries import AFFECTED_QUERIES, DOWNSTREAM_CODES
from safe_clear_plugin.storage.findings.affected_task_instances import AffectedRow
from safe_clear_plugin.web.api.bodies import WidenField
from safe_clear_plugin.web.api.queries import FindingQuery, PageQuery
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.app.authorization import may_clear
from safe_clear_plugin.web.app.paging import Page
from safe_clear_plugin.web.plan.redaction import for_reader

ROWS = 100

LEVELS: dict[Level, tuple[str, str]] = {
    "refuse": ("refused", "refused"),
    "acknowledge": ("to acknowledge", "Acknowledge"),
    "warn": ("warning", "warning"),
    "info": ("note", "note"),
}
"""The levels from the gravest to the mildest: how a count names them, and how a finding is marked."""


@dataclass(frozen=True, slots=True)
class PageLink:
    """A link as a page shows it; one into Airflow leads out of the frame."""

    text: str
    href: str
    outside: bool


@dataclass(frozen=True, slots=True)
class Point:
    """A finding with what the page offers for it."""

    finding: Finding
    mark: str
    rows_url: str
    """Where the task instances behind it are listed, or nothing."""
    links: tuple[PageLink, ...]

    @property
    def parts(self) -> tuple[str, str]:
        """The title in its two parts, at the colon; the first says it all."""
        head, colon, rest = self.finding.title.partition(": ")
        return head + colon.strip(), rest

    @property
    def offers(self) -> list[tuple[str, str]]:
        """Return field and button of each change to the selection that it proposes."""
        return [(field, text) for field, text in SUGGESTED_CHANGES.items() if field in self.finding.widen]


@dataclass(frozen=True, slots=True)
class Checklist:
    """All findings of a plan, the gravest first, and what the other checks look for."""

    points: list[Point]
    summary: str
    quiet: list[str]
    refused: bool


def checklist(plan: PlanSummary) -> Checklist:
    """Return what the plan's page lists before it can be confirmed."""
    order = list(LEVELS)
    findings = sorted(plan.findings, key=lambda finding: order.index(finding.level))
    told = {*(finding.code for finding in findings), *plan.findings_not_checked}
    return Checklist(
        points=[_point(plan, finding) for finding in findings],
        summary=_summary(findings),
        quiet=[check.looks_for for check in CHECKS if check.code not in told],
        refused=any(finding.level == "refuse" for finding in findings),
    )


def _summary(findings: Iterable[Finding]) -> str:
    """Return ``2 to acknowledge · 3 warnings · 1 note``."""
    levels = [finding.level for finding in findings]
    return " · ".join(
        plan_text.count(levels.count(level), name)
        if level in ("warn", "info")
        else f"{levels.count(level):,} {name}"
        for level, (name, _) in LEVELS.items()
        if level in levels
    )


def _point(plan: PlanSummary, finding: Finding) -> Point:
    links = tuple(_page_link(plan, link) for link in finding.links)
    return Point(finding, LEVELS[finding.level][1], _rows_url(plan, finding), links)


def _rows_url(plan: PlanSummary, finding: Finding) -> str:
    if finding.filter:
        return templating.url("plan", plan_id=plan.id, **finding.filter) + "#task-instances"
    if finding.rows and finding.code in AFFECTED_QUERIES:
        return templating.url("finding", plan_id=plan.id, code=finding.code)
    return ""


def _page_link(plan: PlanSummary, link: Link) -> PageLink:
    if link.kind == "plan":
        return PageLink(link.text or link.id, templating.url("plan", plan_id=link.id), outside=False)
    id_ = quote(link.id, safe="")
    path = {
        "dag": f"dags/{id_}",
        "dag_run": f"dags/{quote(plan.dag_id, safe='')}/runs/{id_}",
        "asset": f"assets/{id_}",
        "pool": "pools",
    }[link.kind]
    return PageLink(link.text or link.id, f"{config.base_url()}/{path}", outside=True)


def finding_page(plan: PlanSummary, code: str, query: FindingQuery, session: Session) -> str:
    """Render a finding with a page of the task instances behind it, as they are now."""
    finding = _with_rows(for_reader(plan, session), code)
    plan_id = UUID(plan.id)
    with reading_time(session):
        total = affected_task_instances.count_affected(code, plan_id, plan.dag_id, session)
        page = Page(total, query.offset if query.offset < total else 0, ROWS)
        rows = affected_task_instances.affected_rows(
            code, plan_id, plan.dag_id, session, offset=page.offset, limit=page.limit
        )
    return templating.render(
        "finding_rows.html",
        plan=plan,
        point=_point(plan, finding),
        page=page,
        runs=_grouped(rows),
        cause="Downstream of" if finding.code in DOWNSTREAM_CODES else "Because of",
        may_widen=plan.status == "ready" and may_clear(plan),
        here=templating.Here("", plan.dag_id),
    )


def _grouped(rows: Sequence[AffectedRow]) -> list[tuple[AffectedRow, list[AffectedRow]]]:
    by_run: dict[str, list[AffectedRow]] = {}
    for row in rows:
        by_run.setdefault(row.run_id, []).append(row)
    return [(of_run[0], of_run) for of_run in by_run.values()]


def rows_json(plan: PlanSummary, code: str, query: PageQuery, session: Session) -> dict[str, Any]:
    """Return a finding with a page of the task instances behind it, for programs."""
    finding = _with_rows(plan, code)
    plan_id = UUID(plan.id)
    with reading_time(session):
        total = affected_task_instances.count_affected(code, plan_id, plan.dag_id, session)
        rows = affected_task_instances.affected_rows(
            code, plan_id, plan.dag_id, session, offset=query.offset, limit=query.limit
        )
    return {
        "code": code,
        "level": finding.level,
        "title": finding.title,
        "detail": finding.detail,
        "remedy": finding.remedy,
        "count": finding.count,
        "total": total,
        "items": [
            {
                "run_id": row.run_id,
                "task_id": row.task_id,
                "map_index": row.map_index,
                "state": row.state,
                "try_number": row.try_number,
                "foreseen_state": row.foreseen_state,
                "because_of": row.related_task_id,
            }
            for row in rows
        ],
    }


def _with_rows(plan: PlanSummary, code: str) -> Finding:
    compatibility.require_known_tables()
    for finding in plan.findings:
        if finding.code == code and finding.rows and code in AFFECTED_QUERIES:
            return finding
    raise Refused(
        404,
        Problem("The plan has no finding with this code that lists task instances.", "Open the plan's page."),
    )


def widened(plan: PlanSummary, field: WidenField, actor: Actor, now: datetime) -> PlanSummary:
    """Plan the same with a field of the selection switched on, and keep the reason."""
    changes: dict[str, Any] = {field: True}
    return make_plan(replace(plan.selection, **changes), actor, now, reason=plan.reason_of(actor.id))
