"""Selecting dag runs by partition: the same runs as Airflow takes, and never more."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from airflow.models.dagrun import DagRun
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from sqlalchemy import select, update

from safe_clear_plugin.airflow_api.scheduling.partitions import HAS_PARTITION_DATES
from safe_clear_plugin.core.dates import parse_wall_clock
from safe_clear_plugin.core.problems import Invalid
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.storage.tables import plan_run
from tests.db.acting import plan_of
from tests.support.factories import make_run, serialized, store_dag
from tests.support.scene_cache import write_scene
from tests.support.scenes import START

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]
TAIPEI = ZoneInfo("Asia/Taipei")
DAYS = 6


def partitioned_dag():
    """Return a DAG whose timetable has the clock of Taipei, where Airflow has such a timetable."""
    schedule = None
    if HAS_PARTITION_DATES:
        from airflow.sdk import CronPartitionTimetable

        schedule = CronPartitionTimetable("0 0 * * *", timezone="Asia/Taipei")
    with DAG("etl", schedule=schedule, start_date=START, catchup=False) as dag:
        EmptyOperator(task_id="load")
    return dag


@pytest.fixture
def dag(session):
    """Six runs, of the partitions of six days in Taipei, and one without a partition."""
    dag = partitioned_dag()
    write_scene(("six partitions",), session, lambda: write_runs(dag, session))
    return dag


def write_runs(dag, session):
    store_dag(dag, session=session)
    for day in range(1, DAYS + 1):
        date = START.replace(day=day)
        run = make_run(dag, session=session, run_id=f"run_{day}", logical_date=date, task_state="failed")
        midnight = datetime(2026, 3, day, tzinfo=TAIPEI).astimezone(timezone.utc)
        values = {"partition_key": f"2026-03-0{day}", "partition_date": midnight}
        session.execute(update(DagRun).where(DagRun.id == run.id).values(**values))
    make_run(dag, session=session, run_id="without", logical_date=START.replace(day=9), task_state="failed")
    session.commit()


def runs_of(session, **selection):
    """Return the runs that a plan takes."""
    plan = plan_of(Selection("etl", **selection))
    session.rollback()
    return set(session.scalars(select(plan_run.c.run_id).where(plan_run.c.task_instances > 0))), plan


@pytest.mark.one_database
@pytest.mark.usefixtures("dag")
def test_partition_keys_take_the_runs_that_have_them_and_no_other(session):
    taken, plan = runs_of(session, partition_key=("2026-03-02", "2026-03-05"))
    assert taken == {"run_2", "run_5"}
    assert plan.task_instances == 2


@pytest.mark.usefixtures("dag")
@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({"date_from": START.replace(day=5), "date_to": START.replace(day=9)}, {"run_5"}),
        ({"run_id": ("run_2", "run_3")}, {"run_2"}),
    ],
    ids=["dates", "run ids"],
)
def test_partition_keys_narrow_what_else_is_chosen(session, others, expected):
    taken, _ = runs_of(session, partition_key=("2026-03-02", "2026-03-05"), **others)
    assert taken == expected


@pytest.mark.usefixtures("dag")
@pytest.mark.parametrize("name", ["include_past", "include_future"])
def test_past_and_future_bring_no_other_partition(session, name):
    taken, _ = runs_of(session, partition_key=("2026-03-02",), **{name: True})
    assert taken == {"run_2"}


@pytest.mark.one_database
@pytest.mark.usefixtures("dag")
@pytest.mark.parametrize("key", ["2026-03-07", "2026-03-0", "%", "2026-03-02 ", ""])
def test_a_partition_key_that_no_run_has_is_refused(key):
    with pytest.raises(Invalid) as refused:
        plan_of(Selection("etl", partition_key=("2026-03-02", key)))
    assert [problem.field for problem in refused.value.problems] == ["partition_key"]


@pytest.mark.usefixtures("dag")
def test_no_partition_key_is_no_choice_of_runs():
    with pytest.raises(Invalid) as refused:
        plan_of(Selection("etl", partition_key=()))
    assert [problem.field for problem in refused.value.problems] == ["date_from"]


@pytest.mark.skipif(not HAS_PARTITION_DATES, reason="Airflow 3.3 has ranges of partition dates")
@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("2026-03-02", "2026-03-04"),
        ("2026-03-02 00:00", "2026-03-02 00:00"),
        ("2026-03-02 00:01", "2026-03-03"),
        ("2026-03-01 23:59", "2026-03-03 23:59"),
    ],
)
def test_partition_dates_take_the_runs_of_airflows_own_window(dag, session, first, last):
    taken, _ = runs_of(
        session,
        date_field="partition_date",
        date_from=parse_wall_clock(first, end=False),
        date_to=parse_wall_clock(last, end=True),
    )
    whole_day = len(last) == len("2026-03-04")
    end = datetime.fromisoformat(last) + timedelta(days=whole_day)
    window = DagRun.apply_partition_date_window(
        select(DagRun.run_id).where(DagRun.dag_id == "etl"),
        timetable=serialized(dag, session=session).timetable,
        start=datetime.fromisoformat(first),
        end=end,
        end_exclusive=whole_day,
    )
    expected = set(session.scalars(window))
    assert expected
    assert taken == expected


@pytest.mark.skipif(HAS_PARTITION_DATES, reason="Airflow 3.2 has none")
@pytest.mark.usefixtures("dag")
def test_partition_dates_are_refused_where_airflow_has_no_ranges_of_them():
    with pytest.raises(Invalid) as refused:
        plan_of(Selection("etl", date_field="partition_date", date_from=START))
    [problem] = refused.value.problems
    assert problem.field == "date_field"
    assert "3.3" in problem.reason


@pytest.mark.usefixtures("dag")
def test_a_plan_keeps_the_partition_of_each_run(session):
    runs_of(session, partition_key=("2026-03-02",))
    row = session.execute(select(plan_run)).one()
    assert row.partition_key == "2026-03-02"
    assert row.partition_date == datetime(2026, 3, 1, 16, tzinfo=timezone.utc)
