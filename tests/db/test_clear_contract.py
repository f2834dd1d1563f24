"""What a plan predicts is what Airflow's ``clear_task_instances`` does, column for column."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from airflow.sdk import DAG
from airflow.utils.state import DagRunState, State, TaskInstanceState
from airflow.utils.types import DagRunType

from safe_clear_plugin.core import states
from safe_clear_plugin.core.selection import RUN_TYPES, Selection
from safe_clear_plugin.services.clear.apply import apply_plan
from safe_clear_plugin.services.planning.preview import make_plan
from tests.db.clear_contract import (
    CHANGED_BY_APPLY,
    DAG_ID,
    ME,
    RUN_STATES,
    SITUATIONS,
    START,
    STATES,
    Predicted,
    Situation,
    Step,
    check,
    differences,
    predicted,
    read,
    set_up,
)
from tests.support import options
from tests.support.driving import drive
from tests.support.factories import make_run, store_dag, task_instances
from tests.support.snapshots import diff_snapshots, snapshot

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]


PARTS: dict[str, dict[str, Any]] = {
    "whole run": {},
    "run kept": {"reset_dag_runs": False},
    "some tasks": {"task_regex": "^(stays_|gone_[n-z]|shrinks|source)"},
    "running left out": {"running": "leave_out"},
}


def cases() -> Iterator[Any]:
    """Yield every situation with a part and a state of the run in turn; with ``--full`` with all."""
    for (row, situation), (column, part), run_state in product(
        enumerate(SITUATIONS), enumerate(PARTS), RUN_STATES
    ):
        in_turn = run_state == RUN_STATES[(row + column) % len(RUN_STATES)]
        one_of_each = column == row // len(RUN_STATES) % len(PARTS)
        if options.chosen.full or (in_turn and one_of_each):
            yield pytest.param(situation, part, run_state, id=f"{situation.name}-{part}-{run_state} run")


@pytest.mark.parametrize(("situation", "part", "run_state"), list(cases()))
def test_prediction_is_the_result(session, situation, part, run_state):
    set_up(situation, run_state, session)
    choice = {"running": "terminate", "run_on_latest_version": situation.on_latest, **PARTS[part]}
    foreseen = check(Selection(DAG_ID, run_id=("run",), **choice), session)
    assert {row["state"] for row in foreseen.cleared.values()} >= set(STATES) - {"running", "restarting"}


@pytest.mark.usefixtures("speedups")
@pytest.mark.parametrize("try_number", [0, 1, 2, 5])
def test_max_tries_follow_the_tries_made_and_the_retries(session, try_number):
    by_name = {"none": None, "running": "running", "success": "success", "up_for_retry": "up_for_retry"}
    with DAG(DAG_ID, schedule=None, start_date=START) as dag:
        for state, retries, max_tries in product(by_name, (0, 1, 3), (0, 1, 4)):
            Step(task_id=f"{state}.{retries}.{max_tries}", retries=retries)
    store_dag(dag, session=session)
    for run_id in ("run", "bystander"):
        run = make_run(DAG_ID, session=session, run_id=run_id)
        for ti in task_instances(run, session=session):
            state, _, max_tries = ti.task_id.split(".")
            ti.state, ti.try_number, ti.max_tries = by_name[state], try_number, int(max_tries)
            ti.start_date = START
    session.commit()
    foreseen = check(Selection(DAG_ID, run_id=("run",), running="terminate"), session)
    assert len(foreseen.cleared) == 36


def moved_rows(plan: Predicted) -> dict[tuple[str, int], str]:
    """Return what the run's move to the latest version does to task instances that are not cleared."""
    return {
        key[1:]: row["effect"]
        for key, row in plan.rows.items()
        if row["effect"] not in ("clear", "terminate")
    }


@pytest.mark.usefixtures("speedups")
def test_a_move_to_the_latest_version_creates_and_removes(session):
    set_up(Situation("newer dag, run on latest", newer_dag=True, on_latest=True), "success", session)
    selection = Selection(DAG_ID, run_id=("run",), task_regex="^source$", run_on_latest_version=True)
    moved = moved_rows(check(selection, session))
    assert {key: effect for key, effect in moved.items() if effect == "create"} == {
        ("new", -1): "create",
        ("new_mapped", 0): "create",
        ("new_mapped", 1): "create",
        ("new_source", -1): "create",
        ("new_unexpanded", -1): "create",
    }
    assert moved["gone_success", -1] == "remove"
    assert moved["shrinks", 1] == "remove"
    assert moved["becomes_mapped", -1] == "remove"
    assert moved["stays_removed", -1] == "restore"


@pytest.mark.usefixtures("speedups")
def test_a_run_that_goes_on_creates_and_removes_nothing(session):
    set_up(Situation("newer dag, run on latest", newer_dag=True, on_latest=True), "running", session)
    selection = Selection(DAG_ID, run_id=("run",), task_regex="^source$", run_on_latest_version=True)
    assert moved_rows(check(selection, session)) == {}


@pytest.mark.usefixtures("speedups")
@pytest.mark.parametrize("running", ["terminate", "leave_out"])
def test_several_runs_of_several_kinds(session, running):
    set_up(Situation("newer dag", newer_dag=True), "success", session)
    versionless = make_run(
        DAG_ID, session=session, run_id="versionless", state="failed", without_version=True
    )
    latest = make_run(DAG_ID, session=session, run_id="latest", state="queued", bundle_version="b2")
    for run in (versionless, latest):
        for ti, state in zip(task_instances(run, session=session), STATES * 10, strict=False):
            ti.state, ti.try_number = state, 1
    session.commit()
    before, everything = read(session), snapshot(session)
    session.rollback()
    selection = Selection(DAG_ID, date_from=START, running=running)
    plan = make_plan(selection, ME, datetime.now(timezone.utc))
    session.rollback()
    applied = drive(apply_plan(plan, plan.fingerprint, "", ME, datetime.now(timezone.utc)).id)
    assert (applied.status, applied.stop_reason) == ("applied", None)
    after = read(session)
    found = diff_snapshots(everything, snapshot(session))
    assert found.keys() <= CHANGED_BY_APPLY
    assert {run_id: run["clear_number"] for run_id, run in after.runs.items()} == dict.fromkeys(
        before.runs, 1
    )
    for run_id in before.runs:
        one = predicted(UUID(plan.id), session, run_id)
        rest = before.runs.keys() - {run_id}
        assert list(differences(one, before, after, reset=True, others=rest)) == []


# --- Constants ----------------------------------------------------------------------------------------------


def test_constants_name_every_state_and_type_of_airflow():
    assert set(states.TASK_INSTANCE_STATES) >= {states.NO_STATE, *TaskInstanceState}
    assert set(states.RUN_STATES) == set(DagRunState)
    assert set(RUN_TYPES) >= set(DagRunType)
    assert set(states.FINISHED_RUN_STATES) == set(State.finished_dr_states)
    assert set(states.DONE_STATES) == set(State.finished)
    assert set(states.RUNNING_STATES) == {TaskInstanceState.RUNNING, TaskInstanceState.RESTARTING}
