"""The preview of an undo of a change set, Dag by Dag."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.core.undo import UndoPreview, Verdict
from safe_clear_plugin.services.change_sets.stored import may_clear_all
from safe_clear_plugin.services.change_sets.undo import SetUndoPreview, preview_set_undo
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.app.authorization import may_clear as may_clear_plan
from safe_clear_plugin.web.app.authorization import missing_rights
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.change_sets.standing import standing
from safe_clear_plugin.web.receipt.undo_page import StateCounts, StayGroup, count_states, stay_groups


@dataclass(frozen=True, slots=True)
class UndoOfDag:
    """The preview of the undo in one DAG."""

    plan: PlanSummary
    url: str
    """The address of the page that chooses single runs."""
    preview: UndoPreview | None
    """``None`` if there was no time to count, or the caller may not clear."""
    problem: Problem | None
    """Why nothing can be undone there, or why there was no count."""
    back_states: StateCounts
    stays: list[StayGroup]
    may_clear: bool = True

    @property
    def is_possible(self) -> bool:
        """Whether this undo can be requested."""
        if self.preview is None:
            return self.may_clear
        return self.problem is None and self.preview.put_back > 0


def undo_page(of: ChangeSet, chosen: Sequence[str], now: datetime) -> str:
    """Render the preview of an undo of the chosen DAGs, or of all. The DAG cleared last comes first."""
    plans = [plan for plan in reversed(of.plans) if plan.has_runs_to_undo]
    clearable = [plan.dag_id for plan in plans if may_clear_plan(plan)]
    # With no DAG named, the preview would be of all.
    found = preview_set_undo(of, clearable, now) if clearable else SetUndoPreview(())
    previews = {plan.id: preview for plan, preview in found.plans}
    rows = [_of_dag(plan, previews.get(plan.id)) for plan in plans]
    ticked = [row for row in rows if row.is_possible and (not chosen or row.plan.dag_id in chosen)]
    total = found.only([row.plan.dag_id for row in ticked])
    may_clear = may_clear_all(of, caller().user)
    # If a set waits, the waiting plan may have cleared nothing yet: an undo of the whole set stops it too.
    is_whole = bool(of.waiting_plan and may_clear and len(ticked) == len(rows))
    return templating.render(
        "change_set_undo.html",
        is_whole=is_whole,
        stops_clear=is_whole or any(row.plan.is_waiting_for_person for row in ticked),
        of=of,
        standing=standing(of, now),
        rows=rows,
        ticked={row.plan.dag_id for row in ticked},
        seen=json.dumps({row.plan.dag_id: row.plan.cleared_runs for row in ticked}),
        total=total,
        may_clear=may_clear,
        now=now,
    )


def _of_dag(plan: PlanSummary, found: UndoPreview | Problem | None) -> UndoOfDag:
    url = templating.url("undo_preview", plan_id=plan.id)
    if found is None:
        problem = Problem(f"You can’t clear {plan.dag_id}.", missing_rights(plan.dag_id))
        return UndoOfDag(plan, url, None, problem, [], [], may_clear=False)
    if isinstance(found, Problem):
        return UndoOfDag(plan, url, None, found, [], [])
    back = [item for item in found.counts if item.verdict == Verdict.PUT_BACK]
    return UndoOfDag(
        plan,
        url,
        found,
        found.problem,
        count_states((item.before, item.count) for item in back),
        stay_groups(found.counts, found.stays),
    )
