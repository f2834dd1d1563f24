"""Two api-server processes over one database: any of them serves any request, and may be killed."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from airflow import settings
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from sqlalchemy import func, select

from tests.soak.conftest import DAGS
from tests.support.backends import METADATA
from tests.support.factories import make_run
from tests.support.options import chosen
from tests.support.plans import apply, apply_to_the_end, make_plan, progress, undo_to_the_end
from tests.support.server import AirflowServer

pytestmark = pytest.mark.skipif(not chosen.postgresql, reason="needs --backend postgresql")

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
PER_RUN = 2
NUMBERS = range(1, 31)
MANY = 10


@pytest.fixture(scope="module")
def other_server(backend, airflow_server, dags_in_database):
    """A second api-server, for the tests to kill."""
    server = AirflowServer(
        backend.url(METADATA),
        DAGS,
        dags_folder=dags_in_database,
        auth="simple",
        AIRFLOW__SAFE_CLEAR__BATCH_SIZE=str(PER_RUN),
    )
    try:
        server.start(components=())
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def runs(dags_in_database):
    """Thirty runs that succeeded; each test clears ten of them."""
    with settings.NonScopedSession() as session:
        for number in NUMBERS:
            make_run(
                "still",
                session=session,
                run_id=f"still_{number}",
                logical_date=START + timedelta(days=number),
                task_state="success",
            )


def ten_runs(tens):
    return [f"still_{number}" for number in NUMBERS][10 * tens : 10 * tens + 10]


def check_cleared_once(plan, run_ids, cleared=1):
    with settings.NonScopedSession() as session:
        numbers = select(DagRun.clear_number).where(DagRun.run_id.in_(run_ids))
        assert set(session.scalars(numbers)) == {cleared}
        history = select(func.count()).where(TaskInstanceHistory.run_id.in_(run_ids))
        assert session.scalar(history) == cleared * PER_RUN * len(run_ids)
        log = select(func.count()).where(Log.event == "safe_clear", Log.extra.contains(plan["id"]))
        assert session.scalar(log) == PER_RUN * len(run_ids)
        state = None if cleared else "success"
        states = select(TaskInstance.state).where(TaskInstance.run_id.in_(run_ids))
        assert set(session.scalars(states)) == {state}


def cleared_runs(run_ids):
    """Return the runs that are cleared, having checked that all are so wholly or not at all."""
    looks = {0: {"success"}, 1: {None}}
    found = defaultdict(set)
    with settings.NonScopedSession() as session:
        same_run = (DagRun.dag_id == TaskInstance.dag_id) & (DagRun.run_id == TaskInstance.run_id)
        query = select(DagRun.run_id, DagRun.clear_number, TaskInstance.state).join(TaskInstance, same_run)
        for run_id, number, state in session.execute(query.where(DagRun.run_id.in_(run_ids))):
            found[run_id, number].add(state)
    assert {key: looks[key[1]] for key in found} == found
    return [run_id for run_id, number in found if number]


def at_once(works):
    barrier = threading.Barrier(len(works))

    def run(work):
        barrier.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(run, work) for work in works]]


def test_requests_of_one_user_to_both_servers_clear_once(airflow_server, other_server, runs):
    run_ids = ten_runs(0)
    plan = make_plan(airflow_server, dag_id="still", run_id=run_ids)
    servers = (airflow_server, other_server) * (MANY // 2)
    answers = at_once([lambda server=server: apply_to_the_end(server, plan) for server in servers])
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "applied")] * MANY
    check_cleared_once(plan, run_ids)


def test_of_two_users_on_two_servers_one_wins(airflow_server, other_server, runs):
    run_ids = ten_runs(1)
    plan = make_plan(airflow_server, dag_id="still", run_id=run_ids)
    callers = [(airflow_server, "admin"), (other_server, "operator")] * (MANY // 2)
    answers = at_once([lambda call=call: apply_to_the_end(call[0], plan, call[1]) for call in callers])
    outcomes = Counter((user, answer.status_code) for (_, user), answer in zip(callers, answers, strict=True))
    assert outcomes in (
        {("admin", 200): MANY // 2, ("operator", 409): MANY // 2},
        {("admin", 409): MANY // 2, ("operator", 200): MANY // 2},
    )
    check_cleared_once(plan, run_ids)


def test_a_server_is_killed_half_way(airflow_server, other_server, runs):
    """One is killed with a batch in hand; the driver of the other goes on within a minute, and undoes it."""
    run_ids = ten_runs(2)
    plan = make_plan(other_server, dag_id="still", run_id=run_ids)
    with settings.engine.connect() as holder:
        # The fourth run is held, as a scheduler may hold it: whichever driver has the plan waits there.
        holder.execute(select(DagRun.id).where(DagRun.run_id == run_ids[3]).with_for_update())
        assert apply(other_server, plan).status_code == 202
        other_server.wait_until(lambda: len(cleared_runs(run_ids)) == 3, "three runs are cleared")
        assert progress(airflow_server, plan)["status"] == "applying"
        other_server.kill("api-server")
    begun = time.monotonic()
    answer = apply_to_the_end(airflow_server, plan)
    assert (answer.status_code, answer.json()["status"]) == (200, "applied")
    assert time.monotonic() - begun < 60
    check_cleared_once(plan, run_ids)

    undone = undo_to_the_end(airflow_server, plan)
    assert (undone["status"], undone["put_back"], undone["stayed"]) == ("undone", 20, 0)
    check_cleared_once(plan, run_ids, cleared=0)
