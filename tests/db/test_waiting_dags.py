"""A change set of a plan and the DAGs whose sensors wait for it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.sdk import DAG
from sqlalchemy import select, update

from safe_clear_plugin.core.plan_text import sentence
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.services.change_sets.waiting import list_waiting, plan_with_waiting
from safe_clear_plugin.storage.tables import change_set
from tests.db import acting
from tests.db.acting import ME, now, plan_of
from tests.db.change_set_acting import confirm, drive, fake_auth_manager, statuses
from tests.support.factories import make_run, store_dag
from tests.support.scenes import START, store_etl

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def rights(monkeypatch):
    return fake_auth_manager(monkeypatch)


@pytest.fixture(autouse=True)
def etl(session):
    return store_etl(session, runs=3)


def store_waiting(
    session, dag_id: str, *, shift: timedelta = timedelta(), runs: int = 3, **sensors: dict
) -> None:
    """Store a DAG with sensors before ``after``, and a run a day."""
    with DAG(dag_id, schedule=None, start_date=START) as dag:
        after = EmptyOperator(task_id="after")
        for task_id, options in sensors.items():
            _ = ExternalTaskSensor(task_id=task_id, **{"external_dag_id": "etl", **options}) >> after
        EmptyOperator(task_id="beside")
    store_dag(dag, session=session)
    for day in range(1, runs + 1):
        date = START.replace(day=day) + shift
        make_run(dag, session=session, logical_date=date, run_id=f"{dag_id}_{day}", state="success")


LOAD = {"external_task_id": "load"}


def two_days(**more):
    return plan_of(acting.days(1, 2, **more))


def together(plan, **deltas: timedelta):
    """Plan with the waiting DAGs; ``dag__sensor`` names a delta."""
    given = {tuple(name.split("__")): delta for name, delta in deltas.items()}
    return plan_with_waiting(plan, given, None, ME, now())


def refused(*args, **kwargs) -> Refused:
    with pytest.raises(Refused) as found:
        together(*args, **kwargs)
    return found.value


def shown(made):
    return {one.dag_id: (one.selection.run_id, one.task_instances) for one in made.plans}


def test_the_sensors_are_listed_through_other_dags(session, rights):
    store_waiting(session, "first", wait=LOAD)
    store_waiting(session, "second", wait={"external_dag_id": "first", "external_task_id": "after"})
    store_waiting(session, "apart", wait={"external_dag_id": "first", "external_task_id": "beside"})
    store_waiting(session, "other", wait={"external_task_id": "extract"})
    found = list_waiting(two_days(task_regex="^load$"), None)
    assert [(one.dag_id, one.task_id, one.awaited_dag_id, one.delta) for one in found.sensors] == [
        ("first", "wait", "etl", None),
        ("second", "wait", "first", None),
    ]
    rights.unreadable = {"first"}
    found = list_waiting(two_days(task_regex="^load$"), None)
    assert (found.sensors, found.hidden) == ((), 1)


def test_runs_are_mapped_by_the_deltas_that_are_said(session):
    store_waiting(session, "first", shift=HOUR, wait=LOAD)
    store_waiting(
        session, "second", shift=2 * HOUR, wait={"external_dag_id": "first", "external_task_id": "after"}
    )
    made = together(two_days(), first__wait=HOUR, second__wait=HOUR)
    assert made.dag_ids == ("etl", "first", "second")
    assert made.made_from["chosen_by"] == "waiting"
    found = shown(made)
    assert found["etl"][1] == 6
    assert found["first"] == (("first_1", "first_2"), 4)
    assert found["second"] == (("second_1", "second_2"), 4)
    confirm(made)
    assert statuses(drive(made)) == ["applied"] * 3


def test_a_stored_delta_maps_by_itself(session):
    with DAG("mapped", schedule=None, start_date=START) as dag:
        _ = ExternalTaskSensor.partial(
            task_id="wait", external_dag_id="etl", external_task_id="load", execution_delta=HOUR
        ).expand(poke_interval=[1, 2]) >> EmptyOperator(task_id="after")
    store_dag(dag, session=session)
    for day in (1, 2):
        date = START.replace(day=day) + HOUR
        make_run(dag, session=session, logical_date=date, run_id=f"mapped_{day}", state="success")
    plan = plan_of(acting.days(1, 1))
    (sensor,) = list_waiting(plan, None).sensors
    assert sensor.delta == HOUR
    assert shown(together(plan))["mapped"][0] == ("mapped_1",)


def test_what_nobody_says_is_left_out_and_named_not_guessed(session):
    store_waiting(session, "known", wait=LOAD)
    store_waiting(session, "unknown", wait={**LOAD, "execution_date_fn": lambda date: date})
    made = together(two_days(), known__wait=timedelta())
    assert made.dag_ids == ("etl", "known")
    (out,) = made.left_out
    assert (out.dag_id, "the sensor wait waits" in out.reason) == ("unknown", True)
    error = refused(two_days())
    assert error.status == 422
    assert {one["dag_id"] for one in error.details["left_out"]} == {"known", "unknown"}


def test_a_template_is_not_guessed(session):
    store_waiting(session, "open", wait={"external_task_ids": ["{{ var.value.x }}"]})
    (sensor,) = list_waiting(two_days(), None).sensors
    assert sensor.delta is None


def test_sensors_that_wait_in_different_runs_refuse_the_set(session):
    before = len(session.execute(select(change_set)).all())
    store_waiting(session, "both", wait=LOAD, later=LOAD)
    error = refused(plan_of(acting.days(1, 1)), both__wait=timedelta(), both__later=timedelta(days=1))
    assert (error.status, error.details["dags"][0]["dag_id"]) == (422, "both")
    assert len(session.execute(select(change_set)).all()) == before
    made = together(plan_of(acting.days(1, 1)), both__wait=timedelta(), both__later=timedelta())
    assert shown(made)["both"] == (("both_1",), 3)


def test_a_dag_that_may_not_be_cleared_refuses_the_set(session, rights):
    store_waiting(session, "first", wait=LOAD)
    rights.not_to_clear = {"first"}
    error = refused(two_days(), first__wait=timedelta())
    assert (error.status, error.details["dags"][0]["dag_id"]) == (403, "first")


def test_of_a_cleared_plan_only_what_waits_is_planned(session):
    store_waiting(session, "first", wait=LOAD)
    plan = acting.clear(two_days())
    made = together(plan, first__wait=timedelta())
    assert made.dag_ids == ("first",)
    assert shown(made)["first"][0] == ("first_1", "first_2")


def test_dags_that_wait_for_each_other_are_planned_once(session):
    store_waiting(session, "one", wait=LOAD, back={"external_dag_id": "two", "external_task_id": "after"})
    store_waiting(session, "two", wait={"external_dag_id": "one", "external_task_id": "after"})
    zero = timedelta()
    made = together(two_days(), one__wait=zero, one__back=zero, two__wait=zero)
    assert sorted(made.dag_ids) == ["etl", "one", "two"]


def test_where_nothing_waits_nothing_is_planned(session):
    assert refused(two_days()).status == 422
    store_waiting(session, "first", wait=LOAD)
    assert refused(two_days(), first__wait=timedelta(minutes=7)).status == 422


def test_a_plan_that_would_clear_something_else_by_now_refuses_the_set(session, etl):
    store_waiting(session, "first", wait=LOAD)
    plan = two_days(state=("failed", "upstream_failed"))
    ti = TaskInstance
    moved = update(ti).where(ti.dag_id == "etl", ti.run_id == "run_2").values(state="success")
    session.execute(moved)
    session.commit()
    error = refused(plan, first__wait=timedelta())
    assert (error.status, error.problem.reason) == (
        409,
        "The task instances that the plan clears have changed since its preview.",
    )
    session.rollback()
    assert not session.scalars(select(change_set.c.id)).all()


def test_dags_that_are_left_out_are_named_and_so_is_a_sensor_without_a_run(session, rights):
    store_waiting(session, "first", wait=LOAD)
    store_waiting(session, "second", wait={"external_dag_id": "first", "external_task_id": "after"})
    store_waiting(session, "third", wait=LOAD)
    store_waiting(session, "fourth", wait=LOAD)
    store_waiting(session, "never", wait=LOAD)
    rights.not_to_clear = {"third"}
    deltas = {(dag_id, "wait"): timedelta() for dag_id in ("first", "second", "third", "fourth")}
    deltas |= {("never", "wait"): -HOUR}
    made = plan_with_waiting(two_days(), deltas, None, ME, now(), without=["first", "second", "third"])
    assert made.dag_ids == ("etl", "fourth")
    assert {one.dag_id: one.reason for one in made.left_out} == {
        "first": "It was left out on request.",
        "never": "No dag run with the sensor wait is 1 h before the awaited run.",
        "third": "You can see third, but you can't clear its task instances.",
    }


@pytest.mark.parametrize("name", ["frist", "hidden"])
def test_a_dag_to_leave_out_that_does_not_wait_is_refused(session, rights, name):
    store_waiting(session, "first", wait=LOAD)
    store_waiting(session, "hidden", wait=LOAD)
    rights.unreadable = {"hidden"}
    with pytest.raises(Refused) as found:
        plan_with_waiting(two_days(), {("first", "wait"): timedelta()}, None, ME, now(), without=[name])
    assert (found.value.status, found.value.problem.field) == (422, "without")
    assert found.value.problem.reason == (
        f"These Dags do not wait for this plan, or you can't see them: {name}."
    )


def test_for_a_page_what_one_may_not_clear_is_not_followed(session, rights):
    store_waiting(session, "first", wait=LOAD)
    store_waiting(session, "second", wait={"external_dag_id": "first", "external_task_id": "after"})
    rights.not_to_clear = {"first"}
    found = list_waiting(two_days(), None, only_clearable=True)
    assert (found.sensors, found.hidden, found.not_clearable) == ((), 0, ("first",))


def test_a_dag_with_many_sensors_with_long_names_is_planned(session):
    names = [f"wait_for_the_{'very_long_name_of_the_awaited_' * 6}task_{number:03}" for number in range(200)]
    store_waiting(session, "many", **dict.fromkeys(names, LOAD))
    made = together(two_days(), **{f"many__{name}": timedelta() for name in names})
    found = made.plan_of("many")
    assert (found.selection.task_ids, found.selection.task_regex) == (tuple(sorted(names)), "")
    # The sensors and the task after them, in two runs; not the task beside them.
    assert (found.task_instances, found.dag_runs) == (2 * (len(names) + 1), 2)
    assert sentence(found.selection, on_latest=False).startswith("200 tasks, in runs many_1, many_2. ")
    assert len(json.dumps(made.made_from)) < 5_000
    confirm(made)
    assert statuses(drive(made)) == ["applied"] * 2
