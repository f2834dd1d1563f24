"""Undo is the inverse of clear: for histories, clears and what happens in between drawn at random.

The whole metadata DB is compared row for row, but for ``updated_at``, the audit log and Safe Clear's own
tables, with what :mod:`tests.db.undo_oracle` works out on its own. Where nothing has happened in between and
nothing was with an executor or a trigger, it must be just as before the clear.
"""

from __future__ import annotations

import itertools
import os
import re
from datetime import datetime, timezone
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from hypothesis import HealthCheck, event, given, note, settings
from sqlalchemy import delete, select, update

from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.plan_filters import RowFilter
from safe_clear_plugin.core.problems import Invalid
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.clear.apply import apply_plan
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.services.undo.undo import undo_plan
from safe_clear_plugin.services.undo.undo_preview import preview_undo
from safe_clear_plugin.storage.plans import plan_reader
from tests.db.strategies import ClearAndUndo, Meanwhile, Run, Shape, clears_and_undos, day
from tests.db.undo_oracle import COMES_BACK, everything, predict
from tests.support import options
from tests.support.driving import drive
from tests.support.factories import (
    add_deadline,
    advance,
    expand,
    leave_trail,
    make_run,
    set_states,
    store_dag,
    task_instances,
)
from tests.support.snapshots import Snapshot, diff_snapshots

pytestmark = [pytest.mark.backend, pytest.mark.driver, pytest.mark.airflow32]

ME = Actor("1", "Me")
DAG_ID = "drawn"


def now() -> datetime:
    return datetime.now(timezone.utc)


# --- Building what was drawn --------------------------------------------------------------------------------


def build(case: ClearAndUndo, session: Any) -> None:
    """Write the history to the database."""
    trails = itertools.cycle(case.trails)
    for number, shape in enumerate(case.history.shapes):
        dag = shape.build(DAG_ID, stamp=f"version {number}")
        store_dag(dag, session=session)
        session.expunge_all()
        for run in (run for run in case.history.runs if run.version == number):
            _build_run(dag, shape, run, trails, session)


def _build_run(dag: Any, shape: Shape, drawn: Run, trails: Any, session: Any) -> None:
    run = make_run(
        dag,
        session=session,
        run_id=drawn.name,
        logical_date=None if drawn.day is None else day(drawn.day),
        run_after=day(int(drawn.name[1:])),
        run_type=drawn.run_type,
        state=drawn.state,
        bundle_version=drawn.bundle_version,
    )
    if drawn.lengths is not None:
        for name, _ in shape.mapped_at_run_time:
            expand(run, name, drawn.lengths, session=session)
    palette = itertools.cycle(drawn.palette)
    tis = task_instances(run, session=session)
    set_states(run, {(ti.task_id, ti.map_index): next(palette) for ti in tis}, session=session)
    if drawn.versionless:
        run.created_dag_version_id = None
        for ti in tis:
            ti.dag_version_id = None
    for ti in tis:
        for trail in next(trails):
            leave_trail(ti, trail, session=session)
    if drawn.day is not None:
        add_deadline(run, session=session, missed=drawn.day % 2 == 1)
    session.commit()


def selection_of(case: ClearAndUndo) -> Selection:
    """Say in Safe Clear's fields what to clear."""
    ask = case.ask
    return Selection(
        DAG_ID,
        task_regex="" if ask.tasks is None else f"^({'|'.join(map(re.escape, ask.tasks))})$",
        run_id=ask.runs,
        date_field=ask.date_field,
        date_from=None if ask.first is None else day(ask.first),
        date_to=None if ask.last is None else day(ask.last),
        run_type=ask.run_type,
        run_state=ask.run_state,
        state={None: (), "failed": ("failed", "upstream_failed"), "running": ("running",)}[ask.only],
        map_index=ask.map_index,
        include_upstream=ask.upstream,
        include_downstream=ask.downstream,
        include_past=ask.past,
        include_future=ask.future,
        running=case.running,
        run_on_latest_version=ask.on_latest,
        reset_dag_runs=case.reset_dag_runs,
    )


# --- Clear, meanwhile, undo ---------------------------------------------------------------------------------


def clear(case: ClearAndUndo) -> PlanSummary:
    plan = make_plan(selection_of(case), ME, now())
    plan = drive(apply_plan(plan, plan.fingerprint, "drawn", ME, now()).id)
    assert (plan.status, plan.stop_reason) == ("applied", None)
    return plan


def undo(plan: PlanSummary, run_ids: tuple[str, ...] = ()) -> PlanSummary:
    return drive(undo_plan(plan, run_ids, "drawn", ME, now()).id)


def happen(meanwhile: Meanwhile, session: Any) -> None:
    """Do to Airflow's rows what the scheduler, a worker or another person does."""
    session.rollback()
    if meanwhile.kind == "dag_run":
        runs = session.scalars(select(DagRun).order_by(DagRun.id)).all()
        if runs:
            _happen_to_run(runs[meanwhile.nth % len(runs)], meanwhile.to, session)
        return
    order = (TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index)
    tis = session.scalars(select(TaskInstance).order_by(*order)).all()
    if not tis:
        return
    ti = tis[meanwhile.nth % len(tis)]
    if meanwhile.to == "cleared":
        clear_task_instances([ti], session)
        session.commit()
    elif meanwhile.to == "deleted":
        session.delete(ti)
        session.commit()
    elif ti.state is None or ti.state == "scheduled":
        advance(ti.dag_id, ti.run_id, ti.task_id, meanwhile.to, map_index=ti.map_index, session=session)
    session.expunge_all()


def _happen_to_run(run: DagRun, to: str, session: Any) -> None:
    if to == "deleted":
        session.execute(delete(DagRun).where(DagRun.id == run.id))
    elif to == "cleared":
        clear_task_instances(task_instances(run, session=session)[:1], session)
    else:
        values: dict[str, Any] = {"_state": to, "last_scheduling_decision": now()}
        values |= {"start_date": now()} if to == "running" else {"end_date": now()}
        session.execute(update(DagRun).where(DagRun.id == run.id).values(values))
    session.commit()
    session.expunge_all()


def check_undo(
    plan: PlanSummary, run_ids: tuple[str, ...], before: Snapshot, cleared: Snapshot, session: Any
) -> PlanSummary:
    """Undo some runs, and compare the database and the numbers with what they must be."""
    at_first = everything(session)
    expected = predict(before, cleared, at_first, run_ids, reset=plan.selection.reset_dag_runs)
    foreseen = preview_undo(plan, now(), run_ids)
    done = undo(plan, run_ids)
    assert expected.differences(everything(session)) == {}
    numbers = (expected.put_back, expected.stayed)
    assert (foreseen.put_back, foreseen.stay) == numbers
    assert (done.put_back - plan.put_back, done.stayed - plan.stayed) == numbers
    assert {run.run_id for run in foreseen.runs if run.whole} == expected.whole
    assert (foreseen.dag_runs, foreseen.whole_runs) == (len(run_ids), len(expected.whole))
    event("some stay" if expected.stayed else "all back")
    return done


def only_what_can_come_back(plan: PlanSummary, session: Any) -> bool:
    """Whether everything that was cleared, or removed by a move to another version, can come back."""
    rows = plan_reader.task_instances(UUID(plan.id), RowFilter(), session, limit=10_000)
    return all(row.state in COMES_BACK for row in rows if row.effect not in ("leave_out", "create"))


def check(case: ClearAndUndo, session: Any) -> None:
    """Clear, let things happen, undo some runs, then the others."""
    build(case, session)
    before = everything(session)
    try:
        plan = clear(case)
    except Invalid as refusal:
        event("refused")
        note(f"refused: {'; '.join(str(problem) for problem in refusal.problems)}")
        return
    cleared = everything(session)
    for meanwhile in case.meanwhile:
        happen(meanwhile, session)
    runs = [run.run_id for run in plan_reader.runs(UUID(plan.id), session) if run.applied_at]
    session.rollback()
    first = tuple(run_id for run_id in case.first_undone if run_id in runs)
    rest = tuple(run_id for run_id in runs if run_id not in first)
    for part in (first, rest):
        if part:
            plan = check_undo(plan, part, before, cleared, session)
    assert plan.status == "undone"
    if not case.meanwhile and only_what_can_come_back(plan, session):
        event("exactly as before")
        assert diff_snapshots(before, everything(session)) == {}
    session.rollback()


@settings(
    max_examples=options.examples(20),
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(case=clears_and_undos())
def test_undo_is_the_inverse_of_clear(metadata_db, session, case):
    metadata_db.wipe(session)
    with mock.patch.dict(os.environ, AIRFLOW__SAFE_CLEAR__BATCH_SIZE=str(case.batch_size)):
        check(case, session)
