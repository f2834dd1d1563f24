"""Makes, confirms and drives change sets as a person does, of DAGs with a failed run a day."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth import permissions
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.change_set_confirmation import SetConfirmation
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.change_sets.confirm import confirm_change_set
from safe_clear_plugin.services.change_sets.dag_choice import DagChoice
from safe_clear_plugin.services.change_sets.make import make_change_set
from safe_clear_plugin.services.change_sets.stored import get_change_set
from safe_clear_plugin.services.change_sets.undo import undo_change_set
from safe_clear_plugin.storage.tables import plan
from tests.db.acting import ME, now
from tests.support.driving import driver, end_pause
from tests.support.factories import set_states
from tests.support.scenes import START, store_etl

DAGS = ("dag_a", "dag_b", "dag_c")
LONGEST = 60
TASKS = ("extract", "transform", "load")


class Rights:
    """The rights of the users in a test: everything, except in the DAGs that are listed here."""

    def __init__(self) -> None:
        self.unreadable: set[str] = set()
        self.not_to_clear: set[str] = set()

    def may(self, method: str, dag_id: str) -> bool:
        """Answer as an auth manager does."""
        return dag_id not in self.unreadable and (method == "GET" or dag_id not in self.not_to_clear)


def fake_auth_manager(monkeypatch: pytest.MonkeyPatch) -> Rights:
    """Install an auth manager that answers from a list; the tests of the views have real ones."""
    rights = Rights()

    class Manager:
        def is_authorized_dag(
            self, *, method: str, details: Any, user: Any, access_entity: Any = None
        ) -> bool:
            return rights.may(method, details.id)

    monkeypatch.setattr(permissions, "get_auth_manager", Manager)
    return rights


def store_dags(session: Session, dag_ids: Sequence[str] = DAGS) -> None:
    """Store the DAGs of a change set, each with the same tasks and two runs."""
    for dag_id in dag_ids:
        store_etl(session, dag_id, runs=2)


def refused(step: Callable[..., object], *args: Any, **kwargs: Any) -> Refused:
    """Take a step that is refused, and return the refusal."""
    with pytest.raises(Refused) as found:
        step(*args, **kwargs)
    return found.value


def days(first: int, last: int, **more: Any) -> Selection:
    """Select the runs of some days of January, in any DAGs."""
    return Selection("", date_from=START.replace(day=first), date_to=START.replace(day=last), **more)


def set_of(*dag_ids: str, what: Selection | None = None, actor: Actor = ME, **choice: Any) -> ChangeSet:
    """Preview a clear in several DAGs."""
    return make_change_set(
        DagChoice(dag_ids=dag_ids, **choice), what or days(1, 31), user=ME, actor=actor, now=now()
    )


def confirm(
    of: ChangeSet, actor: Actor = ME, given: SetConfirmation | None = None, **options: Any
) -> ChangeSet:
    """Confirm the set, and clear nothing yet."""
    return confirm_change_set(of, of.fingerprint, given or acknowledging(of), actor, now(), **options)


def acknowledging(of: ChangeSet, reason: str = "because") -> SetConfirmation:
    """Return a confirmation that meets all requirements of a set."""
    ticked = tuple(
        (plan.dag_id, finding.code)
        for plan in of.plans
        for finding in plan.findings
        if finding.level == "acknowledge"
    )
    return SetConfirmation(reason, of.task_instances, ticked)


def reread(of: ChangeSet) -> ChangeSet:
    """Return the set as it is now."""
    return get_change_set(of.id)


def drive_step(of: ChangeSet) -> ChangeSet:
    """Let the driver clear or undo the next batch of the set, in its turn."""
    before, end = _progress(reread(of)), time.monotonic() + LONGEST
    while _progress(found := reread(of)) == before and (found.is_applying or found.is_undoing):
        assert time.monotonic() < end, f"no batch within {LONGEST} s"
        if not driver().run_once():
            time.sleep(0.02)
    return found


def drive(of: ChangeSet) -> ChangeSet:
    """Let the driver clear or undo the set to its end."""
    found, end = reread(of), time.monotonic() + LONGEST
    while found.is_applying or found.is_undoing:
        assert time.monotonic() < end, f"no end within {LONGEST} s"
        found = drive_step(of)
    return found


def clear(of: ChangeSet) -> ChangeSet:
    """Clear all of it."""
    found = drive(confirm(of))
    assert statuses(found) == ["applied"] * len(found.plans)
    return found


def undo(of: ChangeSet, runs: Mapping[str, Sequence[str]] | None = None, actor: Actor = ME) -> ChangeSet:
    """Request the undo of the set, and undo nothing yet."""
    return undo_change_set(of, runs or {}, "I mixed the date", actor, now())


def statuses(of: ChangeSet) -> list[str]:
    """Return the statuses of the plans, in their order."""
    return [plan.status.value for plan in of.plans]


def is_awake(session: Session, of: ChangeSet) -> list[bool]:
    """Return which plans have a next step, in their order."""
    session.rollback()
    found = {
        row.id.hex: row.next_step_at is not None
        for row in session.execute(plan.select().where(plan.c.change_set_id.is_not(None)))
    }
    session.rollback()
    return [found[one.id] for one in of.plans]


def move(session: Session, dag_id: str) -> None:
    """Change something in the DAG's first run after the preview."""
    ti = TaskInstance
    moved = update(ti).where(ti.dag_id == dag_id, ti.run_id == "run_1", ti.task_id == "load")
    session.execute(moved.values(state="success"))
    session.commit()


def look(of: ChangeSet, session: Session, times: int = 4) -> ChangeSet:
    """Let a driver check the set several times, each as soon as it may."""
    for _ in range(times):
        end_pause()
        session.execute(update(plan).where(plan.c.next_step_at.is_not(None)).values(next_step_at=START))
        session.commit()
        driver().run_once()
    return reread(of)


def end(session: Session, dag_id: str, run_id: str, state: str = "success") -> None:
    """Let a cleared run end."""
    run = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).one()
    set_states(run, dict.fromkeys(TASKS, state), session=session)
    session.execute(update(DagRun).where(DagRun.id == run.id).values(state=state))
    session.commit()


def _progress(of: ChangeSet) -> list[tuple[object, ...]]:
    return [(plan.status, plan.batches, plan.undo_asked_runs) for plan in of.plans]
