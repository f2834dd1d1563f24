"""What is said while the form is filled in is what the plan then is, and it takes bounded time."""

from __future__ import annotations

import shlex
from datetime import datetime, timedelta, timezone
from inspect import signature
from uuid import UUID

import pytest
from airflow.cli.cli_parser import get_parser
from airflow.models.backfill import Backfill
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset
from airflow.timetables.interval import CronDataIntervalTimetable
from airflow.timetables.trigger import CronTriggerTimetable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, true, update

from safe_clear_plugin.airflow_api.platform import statement_timeout
from safe_clear_plugin.airflow_api.scheduling import missing_intervals
from safe_clear_plugin.core.problems import Invalid
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.live_preview import selection_preview
from safe_clear_plugin.services.live_preview.selection_counting import PROPAGATION_FIELDS
from safe_clear_plugin.services.live_preview.selection_preview import preview_selection
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.storage.plans import plan_counts
from tests.db.acting import ME, days
from tests.db.test_equals_airflow import build, cases, selection_of
from tests.support import options
from tests.support.factories import make_run, serialized, store_dag
from tests.support.scenes import START, store_etl

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]

NOW = datetime(2026, 2, 1, 12, tzinfo=timezone.utc)


def numbers_of_plan(selection: Selection, session) -> tuple[int, int, int] | None:
    """Return what a plan clears, in how many runs, and what it leaves out; nothing if it is refused."""
    try:
        plan = make_plan(selection, ME, datetime.now(timezone.utc))
    except Invalid:
        return None
    session.rollback()
    changes = plan_counts.state_changes(UUID(plan.id), session)
    left_out = sum(change.count for change in changes if change.effect == "leave_out")
    return plan.task_instances, plan.dag_runs, left_out


def numbers_of_preview(selection: Selection) -> tuple[int, int, int] | None:
    counts = preview_selection(selection, NOW).counts
    if counts is None or not counts.found.total:
        return None
    return counts.found.total, counts.cleared_runs, counts.found.left_out


def check(selection: Selection, session) -> None:
    expected = numbers_of_plan(selection, session)
    assert numbers_of_preview(selection) == expected
    if expected is None:
        return
    added = preview_selection(selection, NOW).counts.added
    assert set(added) == {name for name in PROPAGATION_FIELDS if not getattr(selection, name)}
    for name, more in added.items():
        wider = numbers_of_plan(Selection.from_json({**selection.to_json(), name: True}), session)
        assert (more and more.total) == (wider and wider[0] - expected[0]), name


@settings(
    max_examples=options.examples(15),
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(case=cases())
def test_the_numbers_are_those_of_the_plan(session, case):
    history, asked = case
    world = build(history, session)
    for number, ask in enumerate(asked):
        check(selection_of(ask, world.dag_id, ("leave_out", "terminate")[number % 2]), session)
        session.rollback()


def test_what_counting_takes_no_time_for_is_said(session, monkeypatch):
    store_etl(session)
    monkeypatch.setattr(selection_preview, "MAX_RUNS", 2)
    found = preview_selection(days(1, 3), NOW)
    assert found.counts is None
    assert found.dag_runs == 3
    assert "More than 2 dag runs" in found.not_counted
    monkeypatch.setattr(selection_preview, "MAX_RUNS", 20_000)
    monkeypatch.setattr(selection_preview, "SECONDS", 0.0)
    found = preview_selection(days(1, 3), NOW)
    assert (found.counts, found.dag_runs) == (None, None)
    assert "Too many dag runs" in found.not_counted
    assert found.first.run_id == "run_1"


def test_past_and_future_are_not_counted_where_they_are_too_many(session, monkeypatch):
    store_etl(session, runs=9)
    monkeypatch.setattr(selection_preview, "MAX_RUNS", 5)
    counts = preview_selection(days(4, 5), NOW).counts
    assert counts.found.total == 6
    assert counts.added["include_past"] is None
    assert counts.added["include_upstream"].total == 0


def test_a_statement_that_takes_too_long_is_given_up(session):
    store_etl(session)
    endless = select(func.count()).select_from(_cross_join(20))
    assert statement_timeout.read(endless, statement_timeout.Budget(0.3), session) is None
    # The session goes on to be of use.
    assert statement_timeout.read(select(DagRun.run_id), statement_timeout.Budget(5), session) is not None
    assert len(session.scalars(select(DagRun)).all()) == 3


def _cross_join(tables: int):
    joined = DagRun.__table__.alias("t0")
    for number in range(1, tables):
        joined = joined.join(DagRun.__table__.alias(f"t{number}"), true())
    return joined


# --- Intervals without a dag run ----------------------------------------------------------------------------


def store_scheduled(
    session, schedule="@daily", *, dag_id="etl", start=START, depends=False, **options
) -> DAG:
    with DAG(dag_id, schedule=schedule, start_date=start, catchup=False, **options) as dag:
        EmptyOperator(task_id="extract", depends_on_past=depends)
    store_dag(dag, session=session, is_paused=True)
    return dag


def run_on(dag, session, *moments: datetime) -> None:
    """Make runs as the timetable has them."""
    timetabled = serialized(dag, session=session)
    for moment in moments:
        run = make_run(dag, session=session, logical_date=moment, run_type="scheduled", state="success")
        info = next(iter(timetabled.iter_dagrun_infos_between(moment, moment)), None)
        if info is not None:
            run.run_after = info.run_after
            run.data_interval_start, run.data_interval_end = info.data_interval
    session.commit()


def day(number: int, hour: int = 0) -> datetime:
    return START + timedelta(days=number - 1, hours=hour)


def backfilled(command: str, session) -> list[datetime]:
    """Run the command, and return the logical dates of the runs that it created; it must not touch others."""
    before = {run.run_id: (run.clear_number, run.state) for run in session.scalars(select(DagRun))}
    session.rollback()
    program, *words = shlex.split(command)
    assert program == "airflow"
    arguments = get_parser().parse_args(words)
    arguments.func(arguments)
    runs = session.scalars(select(DagRun).order_by(DagRun.logical_date)).all()
    assert before == {run.run_id: (run.clear_number, run.state) for run in runs if run.run_id in before}
    assert all(run.backfill_id for run in runs if run.run_id not in before)
    return [run.logical_date for run in runs if run.run_id not in before]


@pytest.mark.one_database
@pytest.mark.parametrize("dag_id", ["etl", "-odd.dag_id-"])
def test_the_backfill_creates_just_what_is_missing(session, dag_id):
    dag = store_scheduled(session, dag_id=dag_id)
    run_on(dag, session, *(day(n) for n in (1, 2, 4, 5, 8, 9)))
    missing = preview_selection(Selection(dag_id, date_from=day(2), date_to=day(8)), NOW).missing
    assert (missing.count, missing.first, missing.last) == (3, day(3), day(7))
    assert (missing.stretches, missing.covers, missing.at_least) == (2, 3, False)
    assert backfilled(missing.command, session) == [day(3), day(6), day(7)]


def test_a_task_that_depends_on_the_past_takes_a_command_a_gap(session):
    dag = store_scheduled(session, depends=True)
    run_on(dag, session, *(day(n) for n in (1, 2, 4, 5, 8, 9)))
    missing = preview_selection(Selection("etl", date_from=day(2), date_to=day(8)), NOW).missing
    assert (missing.count, missing.stretches, missing.covers) == (3, 2, 1)
    assert backfilled(missing.command, session) == [day(3)]


@pytest.mark.parametrize("schedule", ["@daily", CronDataIntervalTimetable("0 6 * * *", "Europe/Berlin")])
def test_by_run_after_the_intervals_are_those_that_were_due_then(session, schedule):
    dag = store_scheduled(session, schedule)
    infos = list(serialized(dag, session=session).iter_dagrun_infos_between(day(1), day(20)))
    due = [info.logical_date for info in infos if day(4) <= info.run_after <= day(7)]
    assert len(due) >= 3
    run_on(dag, session, due[1])
    found = preview_selection(
        Selection("etl", date_field="run_after", date_from=day(4), date_to=day(7)), NOW
    ).missing
    assert found.count == len(due) - 1
    assert backfilled(found.command, session) == [due[0], *due[2:]]


def test_an_interval_that_another_run_covers_is_not_missing(session):
    dag = store_scheduled(session)
    run_on(dag, session, *(day(n) for n in (1, 2, 8)))
    by_hand = make_run(dag, session=session, logical_date=day(4, 7), run_type="manual", state="success")
    by_hand.data_interval_start, by_hand.data_interval_end = day(4), day(6)
    session.commit()
    found = preview_selection(Selection("etl", date_from=day(1), date_to=day(8)), NOW).missing
    assert (found.count, found.first, found.last) == (3, day(3), day(7))
    assert (found.stretches, found.covers) == (2, 1)
    assert backfilled(found.command, session) == [day(3)]
    session.execute(update(Backfill).values(completed_at=NOW))
    session.commit()
    rest = preview_selection(Selection("etl", date_from=day(1), date_to=day(8)), NOW).missing
    assert backfilled(rest.command, session) == [day(6), day(7)]


def test_a_run_of_an_earlier_timetable_that_was_due_at_the_time_covers_it(session):
    dag = store_scheduled(session, CronDataIntervalTimetable("@daily", "UTC"))
    run_on(dag, session, *(day(n) for n in range(1, 5)))
    dag = store_scheduled(session, CronTriggerTimetable("@daily", timezone="UTC"))
    # The earlier timetable's run of the 4th was due on the 5th, as is the later one's of the 5th.
    assert missing_of(Selection("etl", date_from=day(1), date_to=day(5))) == 0
    assert missing_of(Selection("etl", date_from=day(1), date_to=day(6))) == 1


def test_a_timetable_that_raises_has_no_missing_intervals(session, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no calendar for this year")

    store_scheduled(session, CronDataIntervalTimetable("@daily", "UTC"))
    week = Selection("etl", date_from=day(1), date_to=day(7))
    assert missing_of(week) == 7
    monkeypatch.setattr(CronDataIntervalTimetable, "next_dagrun_info", fail)
    assert missing_of(week) == 0


DAYS = st.integers(1, 30).map(lambda n: START + timedelta(days=n))


@given(st.sets(DAYS).map(sorted), st.lists(st.tuples(DAYS, DAYS)))
def test_a_moment_is_within_if_any_span_has_it(moments, spans):
    expected = [moment for moment in moments if any(first <= moment < last for first, last in spans)]
    assert list(missing_intervals.within(moments, spans)) == expected


def missing_of(selection: Selection, now: datetime = NOW) -> int:
    missing = preview_selection(selection, now).missing
    return missing.count if missing else 0


def test_intervals_that_no_run_can_have_do_not_count(session):
    store_scheduled(session, start=day(5), end_date=day(8))
    everything = Selection("etl", date_from=day(1) - timedelta(days=400), date_to=day(400))
    assert missing_of(everything) == 4
    # The 5th is over at the latest when the 6th ends; what is not over yet has no run.
    assert missing_of(everything, now=day(5)) == 0
    assert missing_of(everything, now=day(7, 1)) in (2, 3)
    assert missing_of(Selection("etl", date_from=day(9), date_to=day(20))) == 0
    assert missing_of(Selection("etl", run_id=("none",))) == 0


def test_what_the_scheduler_still_comes_to_does_not_count(session):
    dag = store_scheduled(session)
    run_on(dag, session, day(1), day(3))
    week = Selection("etl", date_from=day(1), date_to=day(7))
    assert missing_of(week) == 5
    model = session.get(DagModel, "etl")
    model.is_paused, model.next_dagrun = False, day(4)
    session.commit()
    assert missing_of(week) == 4
    dag.catchup = True
    store_dag(dag, session=session)
    session.execute(update(DagModel).values(next_dagrun=day(4), is_paused=False))
    session.commit()
    assert missing_of(week) == 1


@pytest.mark.one_database
@pytest.mark.parametrize("schedule", [None, "@once", "@continuous", "asset"])
def test_without_a_periodic_schedule_nothing_is_missing(session, schedule):
    limits = {"max_active_runs": 1} if schedule == "@continuous" else {}
    store_scheduled(session, [Asset("s3://lake/sales")] if schedule == "asset" else schedule, **limits)
    assert missing_of(Selection("etl", date_from=day(1), date_to=day(9))) == 0


def test_many_intervals_are_looked_at_only_in_part(session, monkeypatch):
    # However slow the machine is, their number ends it.
    monkeypatch.setattr(missing_intervals, "MAX_SECONDS", 60)
    dag = store_scheduled(session, "* * * * *")
    run_on(dag, session, day(1))
    found = preview_selection(Selection("etl", date_from=day(1), date_to=day(30)), NOW).missing
    assert found.at_least
    assert 100 < found.count <= 2_000


def test_a_dag_that_allows_no_backfill_gets_no_command(session):
    if "allowed_run_types" not in signature(DAG.__init__).parameters:
        pytest.skip("Airflow 3.2 does not know allowed_run_types")
    store_scheduled(session, allowed_run_types=["scheduled", "manual"])
    found = preview_selection(Selection("etl", date_from=day(1), date_to=day(3)), NOW).missing
    assert (found.count, found.command) == (3, "")
