"""States that a trigger rule sets on planned task instances, and that a decision overrules.

An operator that skips (``ti_skip_downstream``) passes over running, succeeded and failed task instances only:
what is upstream_failed before becomes skipped.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, FromClause, and_, or_, select, true, update

from safe_clear_plugin.airflow_api.scheduling.latest_only import OldRuns
from safe_clear_plugin.airflow_api.scheduling.skip_decisions import Decider
from safe_clear_plugin.core.outcomes import Outcome, OutcomeReason
from safe_clear_plugin.storage.findings.rows_behind import Changed, RowsBehind, Shapes
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance

rows_ = plan_task_instance
WITH_TWO_ENDS = (OutcomeReason.EITHER_RULE, OutcomeReason.BRANCH_OR_FAILED)
"""Reasons of outcomes that are skipped or upstream_failed."""


def is_overruled(row: FromClause) -> ColumnElement[bool]:
    """Whether a row becomes upstream_failed first, and skipped then."""
    return and_(row.c.outcome == Outcome.SKIPPED, row.c.foreseen_state == Outcome.UPSTREAM_FAILED)


class OverruledStates:
    """What the decisions of a plan make of states that a trigger rule sets."""

    def __init__(self, rows: RowsBehind, shapes: Mapping[Decider, Shapes], old: OldRuns) -> None:
        """Take the decisions, each with its shapes, and the runs that are not the latest."""
        self._rows, self._shapes, self._old = rows, shapes, old

    def write(self, shapes: Shapes) -> Changed:
        """Write what is skipped for certain, and what may be; return the tasks seen in two states."""
        here = {one: shapes & everywhere for one, everywhere in self._shapes.items() if shapes & everywhere}
        certain = {one for one in here if one.latest_only and not one.may_be_skipped}
        for decider in here.keys() - {one for one in here if one.mapped}:
            self._leave_open(decider, here[decider], certain=decider in certain)
        for decider in certain if self._old else ():
            self._skip(decider, here[decider])
        return self._tasks()

    def _leave_open(self, decider: Decider, shapes: Shapes, *, certain: bool) -> None:
        """Write that a task instance is skipped or not, as a task decides that is yet to run."""
        mine = rows_.alias("behind")
        perhaps: ColumnElement[bool] = true()
        if decider.latest_only:
            perhaps = self._old.may_include(plan_run)
            if not certain:
                perhaps = or_(perhaps, self._old.includes(plan_run))
        found = self._rows.ended_by_rule(mine, shapes, decider.children | decider.further).where(
            mine.c.outcome == Outcome.UPSTREAM_FAILED, perhaps, self._rows.will_decide(decider, mine)
        )
        values = {
            "outcome": Outcome.UNKNOWN.value,
            "outcome_reason": OutcomeReason.BRANCH_OR_FAILED.value,
        }
        self._rows.write(found.subquery("open"), **values)

    def _skip(self, decider: Decider, shapes: Shapes) -> None:
        """Write that a task instance is skipped in the end; :meth:`settle` writes its state."""
        mine = rows_.alias("behind")
        found = self._rows.ended_by_rule(mine, shapes, decider.children).where(
            self._old.includes(plan_run), self._rows.will_decide(decider, mine)
        )
        values = {"outcome": Outcome.SKIPPED.value, "outcome_reason": OutcomeReason.LATEST_ONLY.value}
        self._rows.write(found.subquery("overruled"), **values)

    def _tasks(self) -> Changed:
        mine = rows_
        of_run = and_(mine.c.plan_id == plan_run.c.plan_id, mine.c.run_id == plan_run.c.run_id)
        query = select(plan_run.c.shape, mine.c.task_id).select_from(mine.join(plan_run, of_run))
        two = or_(mine.c.outcome_reason.in_(WITH_TWO_ENDS), is_overruled(mine))
        found: dict[str, Shapes] = {}
        for row in self._rows.session.execute(query.where(*self._rows.scope.runs(), two).distinct()):
            found[row.task_id] = found.get(row.task_id, Shapes()) | {row.shape}
        return found

    def settle(self) -> None:
        """Write the state that stays, after what is behind it has been looked at."""
        overruled = (rows_.c.plan_id == self._rows.scope.plan_id, is_overruled(rows_))
        self._rows.session.execute(
            update(rows_).where(*overruled).values(foreseen_state=Outcome.SKIPPED.value)
        )
