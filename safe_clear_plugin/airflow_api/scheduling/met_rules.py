"""Airflow's trigger rules in SQL: whether they let a task instance start, once all that runs has ended.

Mirrors what ``TriggerRuleDep`` fails on. The states that it sets come before: see :mod:`trigger_rules`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, case, or_, true

from safe_clear_plugin.airflow_api.dag.dependencies import REMOVED_IS_NO_FAILURE, WITHOUT_SUCCESS_IS_FAILED
from safe_clear_plugin.airflow_api.scheduling.trigger_rules import Counts


def is_met(rule: str, n: Counts, map_index: ColumnElement[Any]) -> ColumnElement[bool]:
    """Mirror ``TriggerRuleDep._evaluate_direct_relatives``: whether the rule yields no failing status."""
    open_ = n.expected - _removed(n, map_index)
    needs_success = (n.success > 0,) if WITHOUT_SUCCESS_IS_FAILED else ()
    rules: dict[str, ColumnElement[bool]] = {
        "all_success": n.success >= open_,
        "all_failed": n.failed + n.upstream_failed >= open_,
        "all_done": n.all_done,
        "one_success": n.success > 0,
        "one_failed": n.any_failed,
        "one_done": n.success + n.failed > 0,
        "none_failed": n.success + n.skipped >= open_,
        "none_failed_min_one_success": and_(n.success + n.skipped >= open_, *needs_success),
        "none_skipped": and_(n.all_done, n.skipped == 0),
        "all_skipped": n.skipped >= n.expected,
        "all_done_min_one_success": and_(
            n.skipped == 0,
            n.success + n.failed + n.upstream_failed + n.removed >= n.expected,
            n.success > 0,
        ),
        "all_done_setup_success": and_(n.all_done, or_(n.setups == 0, n.setups_succeeded > 0)),
    }
    return rules.get(rule, true())


def setups_have_succeeded(n: Counts, map_index: ColumnElement[Any]) -> ColumnElement[bool]:
    """Mirror ``TriggerRuleDep._evaluate_setup_constraint``: whether it yields no failing status."""
    return n.success >= n.expected - case((map_index > -1, n.removed), else_=0)


def _removed(n: Counts, map_index: ColumnElement[Any]) -> ColumnElement[Any]:
    return n.removed if REMOVED_IS_NO_FAILURE else case((map_index > -1, n.removed), else_=0)
