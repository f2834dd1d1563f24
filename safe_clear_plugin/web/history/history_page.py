"""The page of the history: one line for each clear, undo, decision or draft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from safe_clear_plugin.core.history import NEWEST_FIRST, HistoryFilter
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.services import history
from safe_clear_plugin.services.history import FoundHistory
from safe_clear_plugin.services.webhook.undelivered import plans_with_undelivered
from safe_clear_plugin.web.api.queries import HistoryQuery
from safe_clear_plugin.web.api.types import read_moment
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.app.paging import Page
from safe_clear_plugin.web.history.history_lines import Line, history_line, logged_line
from safe_clear_plugin.web.history.outcomes import (
    STATUS_LABELS,
)

COLUMNS = (
    ("at", "When", True),
    ("dag_id", "Dag", False),
    ("", "What", False),
    ("task_instances", "Task instances", True),
    ("user", "Who", False),
    ("outcome", "Outcome", False),
)
"""Column to sort by, heading, and whether the highest value comes first."""
MAX_CLEARS = 5
"""The number of Airflow's own clears that the page of a stale plan lists."""


@dataclass(frozen=True, slots=True)
class Heading:
    """The head of a column; ``url`` sorts by it."""

    text: str
    name: str
    url: str
    sorted: str
    """``ascending``, ``descending``, or neither."""


def find_history(
    query: HistoryQuery, now: datetime, session: Session, *, by_set: bool = False
) -> FoundHistory:
    """Return the entries that the query asks for, in the DAGs that the caller may read.

    With ``by_set``, the plans of a change set are one entry, if the caller may read all its DAGs.
    """
    utc, person = ZoneInfo("UTC"), caller()
    wanted = HistoryFilter(
        now=now,
        task_id=query.task_id or "",
        run_id=query.run_id or "",
        map_index=query.map_index,
        user=query.user or "",
        user_id=person.id if query.mine or query.drafts else "",
        user_name=person.actor.name,
        outcome=None if query.drafts else query.status,
        since=read_moment(query.date_from, utc, end=False) if query.date_from else None,
        until=read_moment(query.date_to, utc, end=True) if query.date_to else None,
        drafts=query.drafts,
        by_set=by_set,
    )
    return history.list_history(
        wanted, query.dag_id or "", query.sort, person.user, session, offset=query.offset, limit=query.limit
    )


def history_page(query: HistoryQuery, now: datetime, session: Session) -> str:
    """Render the history."""
    found = find_history(query, now, session, by_set=True)
    asked = _asked(query)
    filters = {name: value for name, value in asked.items() if name not in ("sort", "drafts", "limit")}
    plans = [entry.plan for entry in found.entries if entry.plan]
    # The messages of a set are its first plan's.
    plans += [entry.change_set.plans[0] for entry in found.entries if entry.change_set]
    return templating.render(
        "history.html",
        filters=query,
        filtered=bool(filters),
        query=asked,
        kept={name: asked[name] for name in ("sort", "drafts") if name in asked},
        dag_ids=found.dag_ids,
        complete=found.complete,
        audited=found.audited,
        statuses=STATUS_LABELS,
        headings=[*_headings(query, asked)],
        lines=[history_line(entry, now) for entry in found.entries],
        undelivered_ids=plans_with_undelivered(plans, session),
        page=Page(found.total, found.offset, query.limit),
        here=templating.NavState("plans", query.dag_id or ""),
        now=now,
    )


def airflows_clears(plan: PlanSummary, session: Session) -> list[Line]:
    """Return Airflow's own clears of the plan's DAG since the plan was made."""
    wanted = HistoryFilter(
        now=plan.created_at,
        outcome="airflow",
        since=plan.created_at,
        until=plan.finished_at or plan.applied_at,
    )
    found = history.list_history(
        wanted, plan.dag_id, NEWEST_FIRST, caller().user, session, offset=0, limit=MAX_CLEARS
    )
    return [logged_line(entry.logged) for entry in found.entries if entry.logged]


def _asked(query: HistoryQuery) -> dict[str, Any]:
    """Return the query as a link repeats it, without the page."""
    asked = query.model_dump(exclude={"offset"}, exclude_defaults=True)
    return {name: "true" if value is True else value for name, value in asked.items()}


def _headings(query: HistoryQuery, asked: dict[str, Any]) -> Sequence[Heading]:
    found = []
    for name, text, highest_first in COLUMNS:
        first, second = (f"-{name}", name) if highest_first else (name, f"-{name}")
        wanted = second if query.sort == first else first
        order = {name: "ascending", f"-{name}": "descending"}.get(query.sort, "")
        others = {key: value for key, value in asked.items() if key != "sort"}
        sort = {} if wanted == NEWEST_FIRST else {"sort": wanted}
        url = templating.url("plans", **others, **sort) if name else ""
        found.append(Heading(text, name, url, order))
    return found
