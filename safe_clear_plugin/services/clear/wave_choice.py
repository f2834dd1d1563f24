"""The waves that a confirmation may choose, and those that it gets if it chooses none."""

from __future__ import annotations

from datetime import datetime, timedelta

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.waves import ONE_THEN_ASK, Pace, Waves

JUST_NOW = timedelta(minutes=2)
"""The tolerance for a time that was still to come when a person typed it."""


def default_waves(plan: PlanSummary | ChangeSet) -> Waves | None:
    """Return the waves of a plan or a set if its confirmation has none; ``None`` is all at once."""
    above = config.canary_above()
    is_large = 0 < above < plan.task_instances
    return ONE_THEN_ASK if is_large and plan.dag_runs > 1 else None


def require_future_time(waves: Waves | None, now: datetime) -> None:
    """Refuse a time that is over: nothing would wait for it.

    :raises Refused: 422
    """
    moment = waves.not_before if waves else None
    if moment is not None and moment < now - JUST_NOW:
        problem = Problem(
            f"`not_before` is over: {moment:%Y-%m-%d %H:%M %Z}.", "Send a time to come, or leave it out."
        )
        raise Refused(422, problem, {"errors": {"waves.not_before": [str(problem)]}})


def require_same_pace(plan: PlanSummary, pace: Pace) -> None:
    """Refuse a confirmation that is sent again with other waves than those that the clear has.

    :raises Refused: 409
    """
    if plan.status == PlanStatus.APPLYING and pace.is_chosen and pace.waves != plan.waves:
        raise Refused(
            409,
            Problem(
                "The plan is being cleared in other waves.",
                "Nothing was changed. Send the waves to the plan's address /waves to change them.",
            ),
        )
