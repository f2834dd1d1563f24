"""The undo of a change set: whole, by DAG or by run. The plan that was cleared last comes first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.exc import OperationalError

from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.undo import UndoPreview
from safe_clear_plugin.services import failures
from safe_clear_plugin.services.change_sets.control import stop_change_set
from safe_clear_plugin.services.change_sets.refusals import RefusedDag, refuse
from safe_clear_plugin.services.change_sets.stored import get_change_set
from safe_clear_plugin.services.retry import retrying
from safe_clear_plugin.services.undo.undo import ask_in, refresh_undo_statistics
from safe_clear_plugin.services.undo.undo_preview import preview_undos, problem_with
from safe_clear_plugin.services.wake_up import wake_up
from safe_clear_plugin.storage.change_sets import turns

NOTHING_RESTORED = "Nothing was restored."

Runs = Mapping[str, Sequence[str]]
"""Run ids by DAG id; no run ids stand for all runs of the DAG that were cleared and not undone."""

Seen = Mapping[str, int]
"""Number of cleared runs by DAG id, at the time of the undo's preview."""


def undo_change_set(
    of: ChangeSet, runs: Runs, reason: str, actor: Actor, now: datetime, *, seen: Seen | None = None
) -> ChangeSet:
    """Have a driver put back the runs in the actor's name, plan by plan, and return the updated set.

    If no DAG is named, the undo covers all runs that were cleared and not undone. If the clear has continued
    since it was ``seen``, the request is refused. A DAG that is not in ``seen`` had nothing cleared. While
    the set ``is_undoing``, a driver puts the runs back.

    :raises Refused: 409 when there is nothing to undo, or more than was seen, naming the DAGs; 422 for a DAG
        that is not in the set; 503 when the database is too busy
    """
    compatibility.require_supported()
    _require_in_set(of, (*runs, *(seen or ())))
    if _ends_wait(of, runs):
        # If the undo is refused, the clear is not stopped.
        _chosen(of, runs, now, as_stopped=True)
        of = stop_change_set(of, actor, now, only_waiting=True)
    chosen = _chosen(of, runs, now)
    try:
        for plan in chosen:
            if not plan.is_undoing:
                retrying(refresh_undo_statistics, plan)
        retrying(_ask, of, chosen, runs, reason=reason, actor=actor, now=now, seen=seen)
    except OperationalError as error:
        doing = f"asking to undo change set {of.id}"
        raise failures.refused(error, doing, NOTHING_RESTORED) from error
    wake_up()
    return get_change_set(of.id)


def _ends_wait(of: ChangeSet, runs: Runs) -> bool:
    """Whether the undo of these plans also ends a clear that waits for a person.

    The DAGs before the one that waits can be undone while it waits.
    """
    waiting = of.waiting_plan
    return waiting is not None and (not runs or waiting.dag_id in runs)


def _require_in_set(of: ChangeSet, dag_ids: Sequence[str], outcome: str = NOTHING_RESTORED) -> None:
    unknown = [dag_id for dag_id in dict.fromkeys(dag_ids) if of.plan_of(dag_id) is None]
    remedy = "Name Dags of the change set."
    refuse(
        [RefusedDag(one, 422, f"The change set has no plan of {one}.", remedy) for one in unknown], outcome
    )


@dataclass(frozen=True, slots=True)
class SetUndoPreview:
    """The preview of an undo of a change set, or of some of its DAGs."""

    plans: tuple[tuple[PlanSummary, UndoPreview | Problem], ...]
    """In the order in which they are undone; with a problem if there was no time left for the preview."""
    problem: Problem | None = None
    """Why the undo would be refused, if it would."""

    def only(self, dag_ids: Collection[str]) -> SetUndoPreview:
        """Return the part of the preview in some of its DAGs."""
        return replace(self, plans=tuple(one for one in self.plans if one[0].dag_id in dag_ids))

    @property
    def counted(self) -> list[UndoPreview]:
        """The previews of the plans for which there was time. The totals are over these."""
        return [found for _, found in self.plans if isinstance(found, UndoPreview)]

    @property
    def is_complete(self) -> bool:
        """Whether there was time for all plans."""
        return len(self.counted) == len(self.plans)

    @property
    def task_instances(self) -> int:
        """Cleared task instances."""
        return sum(one.task_instances for one in self.counted)

    @property
    def put_back(self) -> int:
        """Task instances that the undo would restore."""
        return sum(one.put_back for one in self.counted)

    @property
    def stay(self) -> int:
        """Task instances that the undo would leave as they are."""
        return sum(one.stay for one in self.counted)

    @property
    def dag_runs(self) -> int:
        """Dag runs of the undo."""
        return sum(one.dag_runs for one in self.counted)

    @property
    def whole_runs(self) -> int:
        """Dag runs that get their own state back."""
        return sum(one.whole_runs for one in self.counted)


def preview_set_undo(of: ChangeSet, dag_ids: Sequence[str], now: datetime) -> SetUndoPreview:
    """Return the preview of an undo of these DAGs. If no DAG is named, it covers all plans with runs to undo.

    All plans share the time of one preview.

    :raises Refused: 422 for a DAG that is not in the set
    """
    _require_in_set(of, dag_ids, "")
    plans = [
        plan for plan in reversed(of.plans) if (plan.dag_id in dag_ids if dag_ids else plan.has_runs_to_undo)
    ]
    found = tuple(zip(plans, preview_undos(plans, now), strict=True))
    return SetUndoPreview(found, _problem_with_undo(of, dag_ids, now))


def _problem_with_undo(of: ChangeSet, dag_ids: Sequence[str], now: datetime) -> Problem | None:
    if unsupported := compatibility.find_unsupported():
        return unsupported.problem
    runs: Runs = dict.fromkeys(dag_ids, ())
    try:
        _chosen(of, runs, now, outcome="", as_stopped=_ends_wait(of, runs))
    except Refused as refused:
        return refused.problem
    return None


def _chosen(
    of: ChangeSet, runs: Runs, now: datetime, *, outcome: str = NOTHING_RESTORED, as_stopped: bool = False
) -> list[PlanSummary]:
    """Return the plans to undo, the last first; ``as_stopped`` if the undo will stop a waiting clear first.

    :raises Refused: when a named plan cannot be undone, or no plan can
    """
    plans = [plan for plan in reversed(of.plans) if not runs or plan.dag_id in runs]
    problems = {plan.dag_id: problem_with(plan, now) for plan in plans}
    refused = [
        RefusedDag(dag_id, 409, problem.reason, problem.remedy)
        for dag_id, problem in problems.items()
        if problem
    ]
    possible = [plan for plan in plans if not problems[plan.dag_id]]
    # In a whole set, plans that were never cleared, or are undone, need no undo. A plan that is being cleared
    # prevents it.
    if runs or not possible or (of.is_applying and not as_stopped):
        refuse(refused, outcome)
    return possible


def _ask(
    of: ChangeSet,
    chosen: Sequence[PlanSummary],
    runs: Runs,
    *,
    reason: str,
    actor: Actor,
    now: datetime,
    seen: Seen | None,
) -> None:
    """Record the runs to undo for all plans, or for none, and let the last plan begin."""
    set_id = UUID(of.id)
    with new_session() as session:
        turns.lock_all(set_id, session)
        for plan in chosen:
            run_ids = runs.get(plan.dag_id, ())
            cleared = None if seen is None else seen.get(plan.dag_id, 0)
            try:
                asked = ask_in(plan, run_ids, session, reason=reason, actor=actor, now=now, seen=cleared)
            except Refused as refused:
                named = {"dags": [{"dag_id": plan.dag_id, **refused.details}]}
                raise Refused(refused.status, refused.problem, named) from None
            if asked is None:
                problem = Problem(
                    f"There is nothing to undo in {plan.dag_id}.",
                    f"{NOTHING_RESTORED} Its page shows what was cleared and undone.",
                )
                raise Refused(409, problem, {"dags": [{"dag_id": plan.dag_id}]})
        turns.go_on_with_undo(set_id, session)
