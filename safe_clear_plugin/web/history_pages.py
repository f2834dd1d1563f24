"""The list of plans: what was planned, by whom, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api import auth
from safe_clear_plugin.core import words
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.selection import parse_moment
from safe_clear_plugin.storage import receipts
from safe_clear_plugin.storage.receipts import SHOWN_STATUSES, PlanFilter
from safe_clear_plugin.web import pages
from safe_clear_plugin.web.fields import FALSE_WORDS
from safe_clear_plugin.web.identity import caller
from safe_clear_plugin.web.paging import Page, number

ROWS = 50
USUAL = "Running ones are left out."
"""What nearly every selection says at its end, and a list need not repeat."""

LONGEST = 250
"""Characters of a filter; no id or name in Airflow is longer."""

STATUS_LABELS = {
    "ready": "Ready",
    "waiting": "Waiting for approval",
    "expired": "Expired",
    "declined": "Declined or withdrawn",
    "applying": "Clearing",
    "stopped": "Stopped, or applied in part",
    "stale": "Refused: it had moved",
    "applied": "Applied",
    "undone": "Undone",
}


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of the list as they were typed; what cannot be read is in ``problems`` and left out."""

    dag_id: str = ""
    user: str = ""
    status: str = ""
    date_from: str = ""
    date_to: str = ""
    mine: bool = False
    since: datetime | None = None
    until: datetime | None = None
    problems: list[str] = field(default_factory=list)

    def query(self) -> dict[str, str]:
        """Return the filters that are set, as they stand in an address."""
        names = ("dag_id", "user", "status", "date_from", "date_to")
        set_ones = {name: value for name in names if (value := getattr(self, name))}
        return {**set_ones, "mine": "true"} if self.mine else set_ones


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a plan stands, in a word; ``extent`` says how far it got where that is not all."""

    look: str
    text: str
    extent: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One plan of the list."""

    plan: PlanSummary
    outcome: Outcome
    sentence: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of the plans that the caller may see."""

    dag_ids: list[str]
    """Those DAGs with plans that the caller may see."""
    plans: list[PlanSummary]
    page: Page
    complete: bool
    """Whether there was time to ask for every DAG that has plans; those with the newest plans come first."""


def read_filters(args: Mapping[str, str]) -> Filters:
    """Read the filters from the query."""
    problems: list[str] = []
    text = {name: _plain(args.get(name, "")) for name in ("dag_id", "user", "date_from", "date_to")}
    status = args.get("status", "")
    if status and status not in SHOWN_STATUSES:
        problems.append(f"There is no status {_plain(status)}.")
        status = ""
    since, until = (
        _moment(text[name], end=name == "date_to", problems=problems) for name in ("date_from", "date_to")
    )
    mine = args.get("mine", "").strip().lower() not in FALSE_WORDS
    return Filters(**text, status=status, mine=mine, since=since, until=until, problems=problems)


def _plain(text: str) -> str:
    return "".join(char for char in text.strip() if char.isprintable())[:LONGEST]


def _moment(text: str, *, end: bool, problems: list[str]) -> datetime | None:
    if not text:
        return None
    try:
        return parse_moment(text, ZoneInfo("UTC"), end=end)
    except (ValueError, OverflowError):
        problems.append(f"{text} is not a date such as 2026-11-01.")
        return None


def listing(filters: Filters, args: Mapping[str, str], now: datetime, session: Session) -> Listing:
    """Return the plans that the filters let through, of the DAGs that the caller may read."""
    planned = receipts.planned_dags(session, filters.dag_id)
    readable = auth.readable_dags(planned, caller().user, session)
    wanted = PlanFilter(
        dags=readable.dags,
        now=now,
        user=filters.user,
        user_id=caller().id if filters.mine else "",
        status=filters.status,
        since=filters.since,
        until=filters.until,
    )
    limit = number(args, "limit", ROWS, 1, 200)
    offset = number(args, "offset", 0, 0, 2**31)
    total = receipts.count_plans(wanted, session)
    page = Page(total, offset if offset < total else 0, limit)
    plans = receipts.plans(wanted, session, offset=page.offset, limit=limit)
    dag_ids = sorted({dag.dag_id for dag in readable.dags})
    return Listing(dag_ids, plans, page, readable.complete)


def plans_page(args: Mapping[str, str], now: datetime, session: Session) -> str:
    """Render the list of plans."""
    filters = read_filters(args)
    found = listing(filters, args, now, session)
    return pages.render(
        "plans.html",
        filters=filters,
        query=filters.query(),
        dag_ids=found.dag_ids,
        complete=found.complete,
        statuses=STATUS_LABELS,
        plans=[_row(plan, now) for plan in found.plans],
        page=found.page,
        here=pages.Here("plans", filters.dag_id),
        now=now,
    )


def _row(plan: PlanSummary, now: datetime) -> Row:
    sentence = words.sentence(plan.selection, on_latest=plan.run_on_latest_version)
    return Row(plan, outcome(plan, now), sentence.removesuffix(" " + USUAL).removesuffix("."))


def _of_ready(plan: PlanSummary, now: datetime) -> Outcome:
    if plan.waiting(now):
        return Outcome("warn", "Waiting for approval")
    return Outcome("quiet", "Expired") if plan.expired(now) else Outcome("", "Ready")


def outcome(plan: PlanSummary, now: datetime) -> Outcome:
    """Say how the plan stands."""
    part = f"{plan.cleared:,} of {plan.task_instances:,} cleared"
    if plan.undo_asked_runs:
        text = "Being undone" if plan.undoing else f"Undone, {plan.put_back:,} of {plan.cleared:,}"
        return Outcome("quiet", text, part if plan.cleared < plan.task_instances else "")
    simple = {
        "ready": _of_ready(plan, now),
        "declined": Outcome("quiet", "Withdrawn")
        if plan.withdrawn
        else Outcome("bad", "Declined", f"by {plan.declined_by_name}"),
        "applied": Outcome("ok", "Applied"),
        "stale": Outcome("bad", "Refused: it had moved"),
    }
    if plan.status in simple:
        return simple[plan.status]
    if plan.status == "applying" and not plan.interrupted(now):
        return Outcome("", "Clearing", part)
    if (plan.problem or {}).get("kind") == "stopped" or not plan.cleared:
        return Outcome("warn", "Stopped", part)
    return Outcome("warn", "Applied in part", part)
