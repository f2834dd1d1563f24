"""Clearing and undoing as a person does, batch after batch, on a DAG with a failed run a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.undo import UndoPreview
from safe_clear_plugin.services.clear.apply import apply_plan
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.services.undo.undo import undo_plan
from safe_clear_plugin.services.undo.undo_preview import preview_undo
from safe_clear_plugin.storage import scheduler_pause
from safe_clear_plugin.storage.plans import plan_reader
from tests.db.undo_oracle import Prediction, everything, predict
from tests.support.driving import drive, drive_once
from tests.support.scenes import START
from tests.support.snapshots import diff_snapshots

ME = Actor("1", "Me")
OTHER = Actor("2", "Somebody else")


def now() -> datetime:
    """Return this moment."""
    return datetime.now(timezone.utc)


def days(first: int, last: int, **more: Any) -> Selection:
    """Ask for the runs of some days of January."""
    dates = {"date_from": START.replace(day=first), "date_to": START.replace(day=last)}
    return Selection("etl", **{**dates, **more})


def plan_of(selection: Selection, actor: Actor = ME) -> PlanSummary:
    """Preview a clear."""
    return make_plan(selection, actor, now())


def confirm(plan: PlanSummary, actor: Actor = ME, **options: Any) -> PlanSummary:
    """Have the plan cleared, and clear nothing of it yet."""
    return apply_plan(plan, plan.fingerprint, "because", actor, now(), **options)


def step(plan: PlanSummary, actor: Actor = ME, **options: Any) -> PlanSummary:
    """Have the plan cleared, and clear one batch."""
    return drive_once(confirm(plan, actor, **options).id)


def clear(what: Selection | PlanSummary, actor: Actor = ME) -> PlanSummary:
    """Clear all of it."""
    plan = plan_of(what, actor) if isinstance(what, Selection) else what
    plan = drive(confirm(plan, actor).id)
    assert (plan.status, plan.stop_reason) == ("applied", None)
    return plan


def undo_step(plan: PlanSummary, *run_ids: str, actor: Actor = ME, resume: bool = False) -> PlanSummary:
    """Have runs undone, and undo one batch."""
    return drive_once(undo_plan(plan, run_ids, "I mixed the date", actor, now(), resume=resume).id)


def end_pause(session: Session) -> None:
    """End the schedulers' turn, so that the next batch waits for nobody."""
    session.rollback()
    session.execute(scheduler_pause.pause.delete())
    session.commit()


def undo(plan: PlanSummary, *run_ids: str, actor: Actor = ME) -> PlanSummary:
    """Undo runs, or all."""
    return drive(undo_step(plan, *run_ids, actor=actor).id)


def reread(plan: PlanSummary, session: Session) -> PlanSummary:
    """Return the plan as it is now."""
    session.rollback()
    found = plan_reader.get(UUID(plan.id), session)
    assert found is not None
    return found


class Clear:
    """A clear with copies of the database from before and after it, so that its undo can be checked."""

    def __init__(self, what: Selection, session: Session) -> None:
        """Clear it."""
        self.session = session
        self.before = everything(session)
        self.plan = clear(what)
        self.cleared = everything(session)
        self.foreseen: UndoPreview
        self.expected: Prediction

    def undo(self, *run_ids: str) -> PlanSummary:
        """Undo runs or all; the database and the numbers must come out as predicted."""
        at_first = everything(self.session)
        chosen = run_ids or self._open_runs()
        reset = self.plan.selection.reset_dag_runs
        self.expected = predict(self.before, self.cleared, at_first, chosen, reset=reset)
        self.foreseen = preview_undo(self.plan, now(), run_ids)
        done = undo(self.plan, *run_ids)
        assert self.expected.differences(everything(self.session)) == {}
        numbers = (self.expected.put_back, self.expected.stayed)
        assert (self.foreseen.put_back, self.foreseen.stay) == numbers
        assert (done.put_back - self.plan.put_back, done.stayed - self.plan.stayed) == numbers
        assert {run.run_id for run in self.foreseen.runs if run.whole} == self.expected.whole
        self.plan = done
        return done

    def undo_to_before(self) -> None:
        """Undo all; the database must be just as before the clear."""
        self.undo()
        assert diff_snapshots(self.before, everything(self.session)) == {}

    def undo_to_nothing(self) -> None:
        """Undo all; nothing must come back."""
        at_first = everything(self.session)
        done = self.undo()
        assert done.put_back == 0
        assert diff_snapshots(at_first, everything(self.session)) == {}

    def _open_runs(self) -> Sequence[str]:
        self.session.rollback()
        runs = [run.run_id for run in plan_reader.runs(UUID(self.plan.id), self.session) if run.applied_at]
        self.session.rollback()
        return runs
