"""The findings of a plan as a checklist, and the task instances behind each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.core import formats
from safe_clear_plugin.core.finding import Finding, Level, Link
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.services import finding_rows
from safe_clear_plugin.services.finding_rows import AffectedRow, finding_with_rows, has_rows, read_rows
from safe_clear_plugin.web.api.queries import FindingQuery, PageQuery
from safe_clear_plugin.web.app import links, templating
from safe_clear_plugin.web.app.authorization import may_clear, redact
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.app.paging import Page

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
class FindingView:
    """A finding with what the page offers for it."""

    finding: Finding
    mark: str
    rows_url: str
    """The address of the list of its task instances; empty without one."""
    links: tuple[PageLink, ...]

    @property
    def parts(self) -> tuple[str, str]:
        """The title in its two parts, at the colon; the first says it all."""
        head, colon, rest = self.finding.title.partition(": ")
        return head + colon.strip(), rest

    @property
    def head(self) -> str:
        """The first part of the title, where it stands alone."""
        return self.parts[0].removesuffix(":")

    @property
    def noun(self) -> str:
        """The noun for its rows."""
        return "row" if finding_rows.lists_runs(self.finding) else "task instance"

    @property
    def heading(self) -> str:
        """The heading of the list of its rows."""
        return "Dag runs and task instances" if finding_rows.lists_runs(self.finding) else "Task instances"

    @property
    def offers(self) -> list[tuple[str, str]]:
        """Return field and button of each change to the selection that it proposes."""
        return finding_rows.suggested_changes(self.finding)


@dataclass(frozen=True, slots=True)
class Checklist:
    """All findings of a plan, the gravest first, and what the other checks look for."""

    points: list[FindingView]
    summary: str
    quiet: list[str]
    refused: bool


def checklist(plan: PlanSummary) -> Checklist:
    """Return what the plan's page lists before it can be confirmed."""
    order = list(LEVELS)
    findings = sorted(plan.findings, key=lambda finding: order.index(finding.level))
    return Checklist(
        points=[_point(plan, finding) for finding in findings],
        summary=_summary(findings),
        quiet=finding_rows.other_checks(plan),
        refused=any(finding.level == "refuse" for finding in findings),
    )


def _summary(findings: Iterable[Finding]) -> str:
    """Return ``2 to acknowledge · 3 warnings · 1 note``."""
    levels = [finding.level for finding in findings]
    return " · ".join(
        formats.count(levels.count(level), name)
        if level in ("warn", "info")
        else f"{levels.count(level):,} {name}"
        for level, (name, _) in LEVELS.items()
        if level in levels
    )


def _point(plan: PlanSummary, finding: Finding) -> FindingView:
    found = tuple(_page_link(plan, link) for link in finding.links)
    return FindingView(finding, LEVELS[finding.level][1], _rows_url(plan, finding), found)


def _rows_url(plan: PlanSummary, finding: Finding) -> str:
    if finding.filter:
        return templating.url("plan", plan_id=plan.id, **finding.filter) + "#task-instances"
    if has_rows(finding):
        return templating.url("finding", plan_id=plan.id, code=finding.code)
    return ""


def _page_link(plan: PlanSummary, link: Link) -> PageLink:
    if link.kind == "plan":
        return PageLink(link.text or link.id, templating.url("plan", plan_id=link.id), outside=False)
    segments = {
        "dag": ("dags", link.id),
        "dag_run": ("dags", plan.dag_id, "runs", link.id),
        "asset": ("assets", link.id),
        "pool": ("pools",),
    }[link.kind]
    return PageLink(link.text or link.id, links.airflow_url(*segments), outside=True)


def finding_page(plan: PlanSummary, code: str, query: FindingQuery, session: Session) -> str:
    """Render a finding with a page of the task instances behind it, as they are now."""
    finding = finding_with_rows(redact(plan, session), code)
    found = read_rows(plan, code, caller().user, session, offset=query.offset, limit=ROWS, or_first=True)
    return templating.render(
        "finding_rows.html",
        plan=plan,
        point=_point(plan, finding),
        page=Page(found.total, found.offset, ROWS),
        runs=_grouped(found.rows),
        cause=finding_rows.cause_heading(finding),
        names_dags=finding_rows.names_dags(finding),
        may_widen=plan.status == "ready" and may_clear(plan),
        here=templating.NavState("", plan.dag_id),
    )


def _grouped(rows: Sequence[AffectedRow]) -> list[tuple[AffectedRow, list[AffectedRow]]]:
    by_run: dict[str, list[AffectedRow]] = {}
    for row in rows:
        by_run.setdefault(row.run_id, []).append(row)
    return [(of_run[0], of_run) for of_run in by_run.values()]


def rows_json(plan: PlanSummary, code: str, query: PageQuery, session: Session) -> dict[str, Any]:
    """Return a finding with a page of the task instances behind it, for programs."""
    finding = finding_with_rows(plan, code)
    found = read_rows(plan, code, caller().user, session, offset=query.offset, limit=query.limit)
    return {
        "code": code,
        "level": finding.level,
        "title": finding.title,
        "detail": finding.detail,
        "remedy": finding.remedy,
        "count": finding.count,
        "total": found.total,
        "items": [
            {
                "run_id": row.run_id,
                "task_id": None if row.is_run else row.task_id,
                "map_index": None if row.is_run else row.map_index,
                "rendered_map_index": row.rendered_map_index,
                "state": row.state,
                "try_number": row.try_number,
                "foreseen_state": row.foreseen_state,
                "because_of": row.related_task_id,
                "effect": row.effect,
                "details": list(row.details),
            }
            for row in found.rows
        ],
    }
