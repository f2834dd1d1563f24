"""Requests the undo of a plan: a driver does it, in the name of the user."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import audit_log
from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.input_limits import NAMES_SHOWN
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.services import failures
from safe_clear_plugin.services.clear.apply import stop_plan
from safe_clear_plugin.services.plans import get_plan
from safe_clear_plugin.services.retry import retrying
from safe_clear_plugin.services.undo.undo_preview import problem_with
from safe_clear_plugin.services.wake_up import wake_up
from safe_clear_plugin.storage.change_sets import turns
from safe_clear_plugin.storage.plans import statistics
from safe_clear_plugin.storage.undo import left_out_runs, undo_batches

NAMED_ON_RECORD = 100
"""Of the runs that somebody asks to undo, how many the audit log names."""


def undo_plan(
    plan: PlanSummary,
    run_ids: Sequence[str],
    reason: str,
    actor: Actor,
    now: datetime,
    *,
    resume: bool = False,
    seen_runs: int | None = None,
    promised: int | None = None,
) -> PlanSummary:
    """Have a driver put back the named runs in the actor's name, and return the updated plan.

    With no run named, all runs that are cleared and not undone yet; with ``resume``, only the runs that were
    requested before. ``seen_runs`` is the number of cleared runs in the undo's preview: if the clear has
    continued since, the request is refused. ``promised`` is the number of task instances that the preview
    promised to restore; it is recorded. While the returned plan ``is_undoing``, a driver puts it back, batch
    by batch.

    :raises Refused: 409 when there is nothing to undo, or more than was seen, or when this Airflow is not
        supported, with the reason; 503 when the database is too busy
    """
    compatibility.require_supported()
    plan = _stop_waiting_clear(plan, actor, now)
    try:
        if not plan.is_undoing:
            retrying(refresh_undo_statistics, plan)
        found = resume or retrying(
            _ask, plan, run_ids, reason=reason, actor=actor, now=now, seen=seen_runs, promised=promised
        )
    except OperationalError as error:
        raise failures.refused(error, f"asking to undo plan {plan.id}", "Nothing was restored.") from error
    if not found:
        raise Refused(
            409, Problem("There is nothing to undo.", "The plan's page shows what was cleared and undone.")
        )
    wake_up()
    return get_plan(plan.id)


def _stop_waiting_clear(plan: PlanSummary, actor: Actor, now: datetime) -> PlanSummary:
    """Return the plan, stopped if its clear waits for a person; refuse one that can't be undone."""
    if problem := problem_with(plan, now):
        raise Refused(409, problem)
    if plan.is_waiting_for_person:
        # The person who undoes it decides that the clear does not continue.
        plan = stop_plan(plan, actor, now, only_waiting=True)
        if problem := problem_with(plan, now):
            raise Refused(409, problem)
    return plan


def refresh_undo_statistics(plan: PlanSummary) -> None:
    """Tell PostgreSQL the size of a plan that is about to be undone."""
    with new_session() as session:
        statistics.refresh(plan, session)


def _ask(
    plan: PlanSummary,
    run_ids: Sequence[str],
    *,
    reason: str,
    actor: Actor,
    now: datetime,
    seen: int | None,
    promised: int | None,
) -> bool:
    """Record the runs to undo and the user who asked. Return whether there is a run to undo."""
    with new_session() as session:
        turns.lock_with_others(plan, session)
        asked = ask_in(
            plan, run_ids, session, reason=reason, actor=actor, now=now, seen=seen, promised=promised
        )
        if plan.change_set_id:
            turns.go_on_with_undo(UUID(plan.change_set_id), session)
        elif asked == 0:
            undo_batches.wake(UUID(plan.id), session)
        return asked is not None


def ask_in(
    plan: PlanSummary,
    run_ids: Sequence[str],
    session: Session,
    *,
    reason: str,
    actor: Actor,
    now: datetime,
    seen: int | None = None,
    promised: int | None = None,
) -> int | None:
    """Record the runs to undo in the session's transaction, and let the undo begin.

    A plan of a change set waits for its turn, which the caller gives. This transaction holds the rows of all
    plans of the set. Return how many runs had not been requested before. A repeated request changes nothing,
    and the undo stays in the name of the first person. ``None`` when there is nothing to undo.
    """
    plan_id = UUID(plan.id)
    if not undo_batches.lock_plan(plan_id, session):
        return None
    if found := compatibility.check(session.connection()):
        raise found.refusal()
    _require_seen(plan, seen, session)
    asked = undo_batches.request_undo(plan_id, run_ids, now, session)
    _require_asked(plan, run_ids, session)
    if plan.is_undoing and not run_ids:
        # A request for all runs, made during an undo, does not mean the runs that this undo has left out.
        asked -= left_out_runs.withdraw_requests(plan_id, left_out_runs.run_ids_of(plan), session)
    if not undo_batches.next_runs(plan_id, 1, session, run_ids):
        return None
    if asked:
        left_out_runs.begin_undo(plan_id, asked, session)
        _begin(plan, asked, session, reason=reason, actor=actor, now=now)
        named = list(run_ids[:NAMED_ON_RECORD])
        details = {"dag_runs": asked, "run_ids": named, audit_log.PROMISED: promised}
        audit_log.record_decision(
            audit_log.Entry(audit_log.ASK_UNDO_EVENT, plan, reason, actor, details), session
        )
    return asked


def _begin(
    plan: PlanSummary, asked: int, session: Session, *, reason: str, actor: Actor, now: datetime
) -> None:
    """Let the undo begin; in a change set, let it wait. One that already waits or runs keeps its turn."""
    plan_id = UUID(plan.id)
    undo_batches.begin(plan_id, actor, reason, now, session, is_due=not plan.change_set_id)
    if plan.change_set_id and not left_out_runs.was_under_way(plan_id, asked, session):
        turns.let_wait([plan_id], session)


def _require_asked(plan: PlanSummary, run_ids: Sequence[str], session: Session) -> None:
    """Refuse named runs that the plan has not cleared. Runs that are requested or undone are accepted."""
    missing = undo_batches.not_asked_for(UUID(plan.id), run_ids, session)
    if not missing:
        return
    names = ", ".join(missing[:NAMES_SHOWN])
    more = f" and {len(missing) - NAMES_SHOWN:,} more" if len(missing) > NAMES_SHOWN else ""
    are = "is" if len(missing) == 1 else "are"
    raise Refused(
        409,
        Problem(
            f"{count(len(missing), 'run')} of {plan.dag_id} {are} not cleared by this plan: {names}{more}.",
            "Nothing was restored. Correct the run ids, or leave them out.",
        ),
        {"run_ids": missing},
    )


def _require_seen(plan: PlanSummary, seen_runs: int | None, session: Session) -> None:
    """Refuse to undo runs that were cleared after the preview of their undo."""
    cleared = undo_batches.cleared_runs(UUID(plan.id), session)
    if seen_runs is None or seen_runs == cleared:
        return
    are = "is" if cleared == 1 else "are"
    raise Refused(
        409,
        Problem(
            f"The clear of {plan.dag_id} has continued since this undo was previewed: "
            f"{count(cleared, 'run')} {are} cleared now, and {seen_runs:,} were then.",
            "Nothing was restored. Preview the undo again, then confirm it.",
        ),
        {"cleared_runs": cleared},
    )
