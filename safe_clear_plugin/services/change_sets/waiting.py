"""A change set of a plan and the DAGs whose sensors wait for its tasks, directly or through other sensors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth.permissions import BaseUser
from safe_clear_plugin.airflow_api.dag.waiting_sensors import WaitingSensor
from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.change_set import ChangeSet, ChosenBy, LeftOutDag
from safe_clear_plugin.core.input_limits import NAMES_SHOWN, shortened
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.plan_records import TouchedTask
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.change_sets.dag_choice import DagChoice, without_right
from safe_clear_plugin.services.change_sets.make import NewSet, finish, made_from_json, write_set
from safe_clear_plugin.services.change_sets.refusals import refuse
from safe_clear_plugin.services.change_sets.sensor_search import SensorSearch
from safe_clear_plugin.services.change_sets.waiting_runs import Deltas, WaitingRuns
from safe_clear_plugin.services.clear.viewer_role import ViewerRole
from safe_clear_plugin.services.time_limit import preview_time, read_in_time
from safe_clear_plugin.storage.plans import plan_reader

__all__ = [
    "Deltas",
    "WaitingDags",
    "WaitingOffer",
    "WaitingSensor",
    "can_include",
    "list_waiting",
    "offer_waiting",
    "plan_with_waiting",
]

NOT_CLEARED_YET = (PlanStatus.READY, PlanStatus.STALE)
INCLUDING_ROLES = (ViewerRole.CONFIRM, ViewerRole.ASK, ViewerRole.UNASKED)
"""Viewers who can include the waiting DAGs on a plan's page: nobody was asked to decide on it yet."""


@dataclass(frozen=True, slots=True)
class WaitingDags:
    """The sensors that wait for the tasks of a plan, directly or through others."""

    sensors: tuple[WaitingSensor, ...]
    hidden: int
    """DAGs with such sensors that the user may not see."""
    not_clearable: tuple[str, ...] = ()
    """DAGs that the user may see but not clear, if these are left out; DAGs behind them are not here."""

    @property
    def dag_ids(self) -> list[str]:
        """The DAGs of the sensors, each once."""
        return list(dict.fromkeys(sensor.dag_id for sensor in self.sensors))

    @property
    def unmapped(self) -> list[WaitingSensor]:
        """The sensors whose delta Airflow does not store."""
        return [sensor for sensor in self.sensors if sensor.delta is None]


@dataclass(frozen=True, slots=True)
class WaitingOffer:
    """The DAGs that wait for a plan, as its page offers them."""

    found: WaitingDags | None
    problem: Problem | None = None
    """Why they cannot be planned with it."""


def list_waiting(plan: PlanSummary, user: BaseUser, *, only_clearable: bool = False) -> WaitingDags:
    """Return the sensors that wait for the tasks that a plan clears, on any date.

    With ``only_clearable``, DAGs that the user may not clear are left out, with the DAGs that wait only for
    them.

    :raises Refused: 422 when there are too many DAGs
    """
    compatibility.require_known_tables()
    with new_session() as session, preview_time(session):
        task_ids = plan_reader.cleared_dates(UUID(plan.id), session)
        search = SensorSearch(plan.dag_id, user, session, only_clearable=only_clearable)
        return _list(plan.dag_id, task_ids, search)


def can_include(plan: PlanSummary) -> bool:
    """Whether a change set of the plan and its waiting DAGs can be made on the plan's page."""
    return plan.status == PlanStatus.READY and not plan.change_set_id


def offer_waiting(
    plan: PlanSummary, tasks: Iterable[TouchedTask], role: ViewerRole, user: BaseUser
) -> WaitingOffer | None:
    """Return the sensors that wait for the tasks of a plan, in DAGs that the user may clear, for its page.

    Nothing is returned if there is none, if others decide on the plan, or if there is no time to look.
    """
    if role not in INCLUDING_ROLES or not any(finding.code == "waited_for" for finding in plan.findings):
        return None
    task_ids = [task.task_id for task in tasks if task.cleared]

    def read_sensors(session: Session) -> WaitingDags:
        return _list(plan.dag_id, task_ids, SensorSearch(plan.dag_id, user, session, only_clearable=True))

    try:
        found = read_in_time(read_sensors)
    except Refused as refused:
        return WaitingOffer(None, refused.problem)
    return WaitingOffer(found) if found and (found.sensors or found.not_clearable) else None


def _list(root: str, task_ids: Collection[str], seen: SensorSearch) -> WaitingDags:
    open_tasks = {root: set(task_ids)}
    found: dict[tuple[str, str], WaitingSensor] = {}
    while open_tasks:
        dag_id, awaited = open_tasks.popitem()
        for sensor in seen.sensors(dag_id, awaited):
            key = (sensor.dag_id, sensor.task_id)
            if key not in found:
                below = {sensor.task_id, *sensor.downstream}
                open_tasks.setdefault(sensor.dag_id, set()).update(below)
            found.setdefault(key, sensor)
    sensors = tuple(found[key] for key in sorted(found))
    return WaitingDags(sensors, len(seen.hidden), tuple(sorted(seen.not_clearable)))


def plan_with_waiting(
    plan: PlanSummary,
    deltas: Deltas,
    user: BaseUser,
    actor: Actor,
    now: datetime,
    *,
    without: Collection[str] = (),
    reason: str = "",
) -> ChangeSet:
    """Plan the same selection again, with the sensors that wait for it and all tasks downstream of them.

    The logical date of a sensor's run is that of the plan's run plus the sensor's delta. Airflow stores the
    delta of few sensors; ``deltas`` has the others. A sensor without a delta or without such a run is left
    out, and so are the DAGs in ``without``; the set names them. If the plan has been cleared, only the
    waiting DAGs are planned.

    :raises Refused: 422 when nothing waits, or sensors of one DAG wait for different runs, or a DAG of
        ``without`` does not wait; 403 naming the DAGs that the user may not clear; 409 when the plan would
        clear other task instances now
    """
    compatibility.require_known_tables()
    cleared = plan.status not in NOT_CLEARED_YET
    with new_session() as session, preview_time(session):
        found = WaitingRuns(deltas, SensorSearch(plan.dag_id, user, session, without=without), session)
        dates = plan_reader.cleared_dates(UUID(plan.id), session, only_now_cleared=cleared)
        found.follow(plan.dag_id, dates)
        _require_waiting(set(without) - found.seen.left_out, plan.dag_id, dates, user, session)
        selections = _waiting_selections(found, plan.selection, user)
        own = [] if cleared else [plan.selection]
        wanted = _new_set(plan, found.left_out, actor, now, reason)
        made = write_set([*own, *selections], wanted, session)
        if own:
            _require_same(made.change_set.plan_of(plan.dag_id), dates, session)
    return finish(made, now)


def _waiting_selections(found: WaitingRuns, of: Selection, user: BaseUser) -> list[Selection]:
    """Return the selections of the waiting DAGs, if the user may clear all of these and there is one."""
    refuse([one for dag_id in found.by_dag if (one := without_right(dag_id, user))])
    selections = found.selections(of)
    if not selections:
        raise _nothing_waits(found.left_out)
    return selections


def _new_set(
    plan: PlanSummary, left_out: Sequence[LeftOutDag], actor: Actor, now: datetime, reason: str
) -> NewSet:
    return NewSet(
        actor,
        now,
        made_from_json(ChosenBy.WAITING, DagChoice(), plan.selection, plan.id),
        reason or plan.reason_for_author(actor.id),
        named=frozenset({plan.dag_id}),
        left_out=tuple(left_out),
    )


def _require_same(again: PlanSummary | None, dates: Mapping[str, set[datetime]], session: Session) -> None:
    """Refuse a set whose plan now clears other tasks or dates than those the waiting runs were found for."""
    if again is None or plan_reader.cleared_dates(UUID(again.id), session) != dates:
        raise Refused(
            409,
            Problem(
                "The task instances that the plan clears have changed since its preview.",
                "Nothing was planned. Preview the plan again, then the Dags that wait for it.",
            ),
        )


def _require_waiting(
    named: Collection[str],
    root: str,
    task_ids: Collection[str],
    user: BaseUser,
    session: Session,
) -> None:
    """Refuse names of DAGs that do not wait for the plan, nor for another DAG that is left out."""
    if not named:
        return
    waiting = _list(root, task_ids, SensorSearch(root, user, session, limited=False)).dag_ids
    if unknown := sorted(set(named).difference(waiting)):
        names = ", ".join(map(shortened, unknown[:NAMES_SHOWN]))
        raise Refused(
            422,
            Problem(
                f"These Dags do not wait for this plan, or you can't see them: {names}.",
                "Nothing was planned. Name only Dags that wait for the plan.",
                "without",
            ),
        )


def _nothing_waits(left_out: Sequence[LeftOutDag]) -> Refused:
    details = {"left_out": [one.to_json() for one in left_out]}
    if left_out:
        problem = Problem(
            f"{left_out[0].dag_id}: {left_out[0].reason}", f"Nothing was planned. {left_out[0].remedy}"
        )
    else:
        problem = Problem(
            "No dag run of another Dag that you can see waits for this plan.", "Nothing was planned."
        )
    return Refused(422, problem, details)
