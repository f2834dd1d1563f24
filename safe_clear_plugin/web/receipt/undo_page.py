"""The preview of an undo, and the lists of what an undo leaves as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.core.undo import VERDICT_TEXT, UndoCount, UndoPreview, UndoStay, Verdict
from safe_clear_plugin.services import authorization
from safe_clear_plugin.services.undo import pause_dag
from safe_clear_plugin.web.api.queries import GridQuery, UndoQuery
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.app.paging import Page
from safe_clear_plugin.web.grid import grid_page

CHOOSABLE = 100
"""Dag runs on a page. Unticked ones go into an address, and proxies allow only some thousand characters."""

LISTED = 200
"""Task instances that stay which a page lists; the services list as many."""

WHOLE_GRID = GridQuery.model_validate({})

StateCounts = list[tuple[str | None, int]]


@dataclass(frozen=True, slots=True)
class TaskStays:
    """The task instances of one task that stay, as far as they are listed."""

    task_id: str
    states: StateCounts
    rows: list[UndoStay]


@dataclass(frozen=True, slots=True)
class StayGroup:
    """Task instances that stay for one reason; ``tasks`` has only the first rows."""

    why: str
    count: int
    states: StateCounts
    tasks: list[TaskStays]
    most: int = LISTED

    @property
    def listed(self) -> int:
        """The number of them in ``tasks``."""
        return sum(len(task.rows) for task in self.tasks)


def undo_page(
    plan: PlanSummary, undo: UndoPreview, chosen: Sequence[str], query: UndoQuery, now: datetime
) -> str:
    """Render what an undo of the chosen runs, or of all, would do now."""
    back = [item for item in undo.counts if item.verdict == Verdict.PUT_BACK]
    return templating.render(
        "undo.html",
        plan=plan,
        undo=undo,
        chosen=list(chosen),
        cleared_runs=plan.cleared_runs - plan.undone_runs,
        runs=undo.runs[:CHOOSABLE],
        page=Page(undo.dag_runs, query.offset, CHOOSABLE),
        asked=query.model_dump(exclude={"offset"}, exclude_defaults=True),
        back_states=count_states((item.before, item.count) for item in back),
        now_states=count_states((item.now, item.count) for item in back),
        stays=stay_groups(undo.counts, undo.stays),
        view=grid_page.undo_view(plan, WHOLE_GRID) if undo.put_back and not chosen else None,
        is_paused=pause_dag.is_paused(plan),
        may_pause=authorization.may_pause(plan, caller().user),
        here=templating.NavState("", plan.dag_id),
        now=now,
    )


def uncounted_page(plan: PlanSummary, problem: Problem, chosen: Sequence[str], now: datetime) -> str:
    """Render what can be done without the numbers: an undo is urgent, and decides row by row by itself."""
    return templating.render(
        "undo_uncounted.html",
        plan=plan,
        problem=problem,
        chosen=list(chosen),
        here=templating.NavState("", plan.dag_id),
        now=now,
    )


def count_states(counts: Iterable[tuple[str | None, int]]) -> StateCounts:
    """Add up counts by state, the largest first."""
    total: Counter[str | None] = Counter()
    for state, count in counts:
        total[state] += count
    return total.most_common()


def stay_groups(counts: Iterable[UndoCount], stays: Sequence[UndoStay]) -> list[StayGroup]:
    """Group what stays by reason, the most frequent first, and the listed rows of it by task."""
    staying = [item for item in counts if item.verdict != Verdict.PUT_BACK]
    totals: Counter[Verdict] = Counter()
    for item in staying:
        totals[item.verdict] += item.count
    groups = []
    for verdict, total in totals.most_common():
        states = count_states((item.now, item.count) for item in staying if item.verdict == verdict)
        tasks = _by_task([row for row in stays if row.verdict == verdict])
        groups.append(StayGroup(VERDICT_TEXT[verdict], total, states, tasks))
    return groups


def _by_task(rows: Sequence[UndoStay]) -> list[TaskStays]:
    ranked = sorted(rows, key=lambda row: (row.task_id, row.run_id, row.map_index))
    return [
        TaskStays(task_id, count_states((row.state_now, 1) for row in found), found)
        for task_id, group in groupby(ranked, key=lambda row: row.task_id)
        if (found := list(group))
    ]
