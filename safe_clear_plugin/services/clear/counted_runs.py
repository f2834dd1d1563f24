"""The runs that waves count: the runs of a plan, or of all plans of its change set."""

from __future__ import annotations

from sqlalchemy.orm import Session

from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.waves import RunCounts, add_counts
from safe_clear_plugin.storage.change_sets import turns
from safe_clear_plugin.storage.clear import reruns


def judge(plan: PlanSummary, session: Session, *, reopen: bool = False) -> None:
    """Store the progress of each cleared run; the rows of all these plans are locked."""
    for plan_id, dag_id in turns.counted_with(plan, session):
        reruns.judge(plan_id, dag_id, session, reopen=reopen)


def count_kept(plan: PlanSummary, session: Session) -> RunCounts:
    """Count the runs by the last stored progress."""
    return add_counts(reruns.count_kept(plan_id, session) for plan_id, _ in turns.counted_with(plan, session))


def skip_failures(plan: PlanSummary, session: Session) -> None:
    """Note that a person continues without the failed runs."""
    for plan_id, _ in turns.counted_with(plan, session):
        reruns.skip_failures(plan_id, session)
