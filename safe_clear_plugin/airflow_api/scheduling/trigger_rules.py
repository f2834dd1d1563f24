"""Airflow's trigger rules in SQL: the state that they set on a task instance without running it.

Mirrors ``TriggerRuleDep`` and ``MappedTaskUpstreamDep`` with ``flag_upstream_failed``.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from sqlalchemy import ColumnElement, FromClause, String, and_, case, func, literal, null, or_

from safe_clear_plugin.airflow_api.dag.dependencies import SUCCESS_SKIPS, WITHOUT_SUCCESS_IS_FAILED
from safe_clear_plugin.core.states import DONE_STATES

SUCCESS_MATTERS = SUCCESS_SKIPS
"""Trigger rules that can end a task instance although everything upstream succeeded."""

SKIPS_BEHIND_SKIPPED = frozenset(
    {"all_success", "none_skipped", "all_done_min_one_success", "all_done_setup_success", "all_skipped"}
)
"""Trigger rules by which one skipped task instance upstream, or one that is not, may end a task instance."""

SKIPS_BEHIND_ONE = frozenset({"all_success", "none_skipped", "all_done_min_one_success"})
"""Trigger rules that skip a task instance once one upstream task instance is skipped, if none has failed."""

ONE_RUN_IS_ENOUGH = frozenset({"one_success", "one_done", "none_failed_min_one_success"})
"""Trigger rules that skip a task instance if all upstream ones are skipped."""

LETS_START = {
    "one_success": ("success",),
    "one_done": ("success", "failed"),
    "one_failed": ("failed", "upstream_failed"),
}
"""Trigger rules that need one upstream task instance only, with the states in which it lets a task start."""

UPSTREAM_FAILED, SKIPPED, REMOVED = (
    literal(state, String(20)) for state in ("upstream_failed", "skipped", "removed")
)


class Counts:
    """The number of task instances upstream of one in each state, as columns of a query."""

    def __init__(self, table: FromClause, expected: int | None) -> None:
        """Take the sums of ``table``; ``expected`` of ``None`` means as many as there are.

        A table joined from outside has no rows where there is nothing upstream: that makes zeros.
        """
        self.success, self.failed, self.upstream_failed, self.skipped, self.removed = (
            total(table.c[state]) for state in DONE_STATES
        )
        self.done = self.success + self.failed + self.upstream_failed + self.skipped + self.removed
        self.total = total(table.c.total)
        self.expected: ColumnElement[Any] = self.total if expected is None else literal(expected)
        self.setups = total(table.c.setups)
        self.setups_succeeded = total(table.c.setups_succeeded)
        self.setups_skipped = total(table.c.setups_skipped)

    def plus(
        self, *, success: ColumnElement[Any], upstream_failed: ColumnElement[Any], skipped: ColumnElement[Any]
    ) -> Counts:
        """Return these counts with more task instances in some states, which the total has already."""
        found = copy(self)
        found.success = self.success + success
        found.upstream_failed = self.upstream_failed + upstream_failed
        found.skipped = self.skipped + skipped
        found.done = self.done + success + upstream_failed + skipped
        return found

    @property
    def all_done(self) -> ColumnElement[bool]:
        """Whether everything upstream has finished."""
        return self.done >= self.expected

    @property
    def any_failed(self) -> ColumnElement[bool]:
        """Whether something upstream has failed, or not run for that reason."""
        return self.failed + self.upstream_failed > 0


def total(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the sum of a column of counts; zero where there is nothing to count."""
    return func.coalesce(func.sum(column), 0)


def by_rule(rule: str, n: Counts, map_index: ColumnElement[Any]) -> ColumnElement[Any] | None:
    """Mirror ``TriggerRuleDep._evaluate_direct_relatives``: the state that a trigger rule sets at once."""
    failed, skipped = UPSTREAM_FAILED, SKIPPED
    rules: dict[str, tuple[tuple[ColumnElement[bool], ColumnElement[Any]], ...]] = {
        "all_success": (
            (n.any_failed, failed),
            (n.skipped > 0, skipped),
            (_exceeds_remaining(n, map_index), REMOVED),
        ),
        "all_failed": ((n.success + n.skipped > 0, skipped),),
        "one_success": (
            (and_(n.all_done, n.done == n.skipped), skipped),
            (and_(n.all_done, n.success == 0), failed),
        ),
        "one_failed": ((and_(n.all_done, ~n.any_failed), skipped),),
        "one_done": ((and_(n.all_done, n.failed + n.success == 0), skipped),),
        "none_failed": ((n.any_failed, failed),),
        "none_failed_min_one_success": (
            (n.any_failed, failed),
            (n.skipped == n.expected, skipped),
            *(((and_(n.all_done, n.success == 0), failed),) if WITHOUT_SUCCESS_IS_FAILED else ()),
        ),
        "none_skipped": ((n.skipped > 0, skipped),),
        "all_skipped": ((or_(n.success > 0, n.any_failed), skipped),),
        "all_done_min_one_success": (
            (n.skipped > 0, skipped),
            (and_(n.all_done, n.success == 0), failed),
        ),
        "all_done_setup_success": (
            (and_(n.all_done, n.setups > 0, n.setups_skipped >= n.setups), skipped),
            (and_(n.all_done, n.setups > 0, n.setups_succeeded == 0), failed),
        ),
    }
    return case(*rules[rule], else_=null()) if rule in rules else None


def by_setups(n: Counts, map_index: ColumnElement[Any]) -> ColumnElement[Any]:
    """Mirror ``TriggerRuleDep._evaluate_setup_constraint``."""
    return case(
        (n.any_failed, UPSTREAM_FAILED),
        (n.skipped > 0, SKIPPED),
        (_exceeds_remaining(n, map_index), REMOVED),
        else_=null(),
    )


def by_mapping(n: Counts) -> ColumnElement[Any]:
    """Mirror ``MappedTaskUpstreamDep``: a task that the mapping expands over has not succeeded."""
    return case(
        (n.any_failed, UPSTREAM_FAILED),
        (n.skipped > 0, SKIPPED),
        else_=null(),
    )


def _exceeds_remaining(n: Counts, map_index: ColumnElement[Any]) -> ColumnElement[bool]:
    return and_(n.removed > 0, n.success > 0, map_index > -1, map_index >= n.success)
