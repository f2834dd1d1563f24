"""A preview takes no longer than it may; findings that take too long are given up, and that is said."""

from __future__ import annotations

import math

import pytest
from sqlalchemy import func, select, text

from safe_clear_plugin.airflow_api.platform import config, statement_timeout
from safe_clear_plugin.core.confirmation import Confirmation
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.findings import concurrent_plans, workload
from safe_clear_plugin.findings.registry import AREAS, CHECKS
from safe_clear_plugin.services.clear.confirm import Unconfirmed, confirm_plan
from safe_clear_plugin.services.planning import preview
from safe_clear_plugin.services.time_limit import TookTooLong
from safe_clear_plugin.services.undo import undo_preview
from safe_clear_plugin.services.undo.undo_preview import preview_undo, summarize_undo
from safe_clear_plugin.storage import tables
from safe_clear_plugin.storage.findings import affected_task_instances
from tests.db.acting import ME, clear, days, now, plan_of, undo
from tests.support.factories import make_run, set_states, store_dag
from tests.support.scenes import START, etl_dag, store_etl
from tests.support.slow import endless

pytestmark = pytest.mark.backend


@pytest.fixture
def short(monkeypatch):
    """Give the findings ten seconds: what is left must be enough for all others on a busy machine."""
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__FINDINGS_TIMEOUT", "10")


def never(*args):
    """Take for ever, with whatever session is among the arguments."""
    session = next(arg for arg in args if hasattr(arg, "scalar"))
    return session.scalar(endless(session))


def codes(*areas):
    return {check.code for area in AREAS if area.name in areas for check in area.checks}


def finding(plan, code):
    return next((found for found in plan.findings if found.code == code), None)


def store_done(session):
    """Three runs that succeeded: to clear extract makes the rest stale."""
    store_dag(etl_dag(), session=session)
    for day in (1, 2, 3):
        run = make_run("etl", session=session, run_id=f"run_{day}", logical_date=START.replace(day=day))
        set_states(run, dict.fromkeys(("extract", "transform", "load"), "success"), session=session)


def count_nothing(monkeypatch):
    """Let the counts of task instances around the cleared ones never end."""
    for name in ("count_by_task", "count_downstream"):
        monkeypatch.setattr(affected_task_instances, name, never)


def test_a_check_that_takes_too_long_is_named_and_the_others_are_done(session, short, monkeypatch):
    store_done(session)
    whole = plan_of(days(1, 3, task_regex="^extract$"))
    monkeypatch.setattr(concurrent_plans, "other_plans", never)
    plan = plan_of(days(1, 3, task_regex="^extract$"))
    assert plan.findings_not_checked == ("other_plan",)
    assert finding(plan, "not_checked").level == "warn"
    assert finding(plan, "not_checked").title == "1 check did not finish in time"
    # The likely end is given to the minute.
    others = [one for one in plan.findings if one.code not in ("not_checked", "cost")]
    assert others == [one for one in whole.findings if one.code != "cost"]
    assert whole.findings_not_checked == ()
    assert finding(whole, "not_checked") is None


@pytest.mark.one_database("postgresql")
def test_what_a_check_has_written_goes_with_it_and_the_rows_stay(session, short, monkeypatch):
    store_done(session)
    count_nothing(monkeypatch)
    plan = plan_of(days(1, 3, task_regex="^extract$"))
    assert set(plan.findings_not_checked) == codes("dependencies", "outcomes")
    assert finding(plan, "stale_downstream") is None
    assert finding(plan, "success_redone") is not None
    count = select(func.count()).select_from
    assert session.scalar(count(tables.plan_relation)) == 0
    assert session.scalar(count(tables.plan_task_instance)) == 3


@pytest.mark.one_database("postgresql")
def test_what_may_ask_for_a_tick_is_ticked_when_it_was_not_checked(session, short, monkeypatch):
    store_done(session)
    count_nothing(monkeypatch)
    plan = plan_of(days(1, 1, task_regex="^extract$"))
    assert finding(plan, "not_checked").level == "acknowledge"
    assert "downstream data that will go stale" in finding(plan, "not_checked").detail
    with pytest.raises(Unconfirmed) as refused:
        confirm_plan(plan, plan.fingerprint, Confirmation(acknowledge=("stale_downstream",)), ME, now())
    assert [one.value for one in refused.value.missing] == ["not_checked"]
    given = Confirmation(acknowledge=("stale_downstream", "not_checked"))
    done = confirm_plan(plan, plan.fingerprint, given, ME, now())
    assert (done.status, done.acknowledged) == ("applying", ("not_checked",))


@pytest.mark.one_database("postgresql")
def test_what_rests_on_the_workload_is_not_checked_without_it(session, short, monkeypatch):
    store_done(session)
    monkeypatch.setattr(workload.capacity, "task_counts", never)
    plan = plan_of(days(1, 3))
    assert set(plan.findings_not_checked) == codes(*(area.name for area in AREAS if area.needs_workload))
    assert {"dag_paused", "cost"} <= set(plan.findings_not_checked)
    assert plan.estimate is None


def test_everything_too_late_leaves_the_limits_and_what_runs_now(session, monkeypatch):
    store_done(session)
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__FINDINGS_TIMEOUT", "0.0000001")
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__MAX_TASK_INSTANCES", "2")
    plan = plan_of(days(1, 3))
    assert {found.code for found in plan.findings} == {"too_many", "not_checked"}
    # The DAG has no setups, no timeout and no deadline, so nothing is asked about these.
    by_themselves = ("limits", "running", "scheduler_changes", "setups", "stopped_runs", "deadline_alerts")
    checked = codes(*by_themselves) | {"not_checked"}
    assert set(plan.findings_not_checked) == {check.code for check in CHECKS} - checked
    assert "and" in finding(plan, "not_checked").detail


def test_a_plan_whose_checks_came_too_late_is_cleared_as_shown(session, monkeypatch):
    store_etl(session)
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__FINDINGS_TIMEOUT", "0.0000001")
    assert clear(days(1, 3)).cleared == 9


@pytest.mark.one_database("postgresql")
def test_one_slow_check_leaves_time_for_the_next(session, monkeypatch):
    store_done(session)
    # The three slow checks take seven eighths of the time. Each other check may take half of the rest.
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__FINDINGS_TIMEOUT", "32")
    count_nothing(monkeypatch)
    monkeypatch.setattr(concurrent_plans, "other_plans", never)
    plan = plan_of(days(1, 3, task_regex="^extract$"))
    assert set(plan.findings_not_checked) == codes("dependencies", "outcomes", "concurrent_plans")


def test_no_limit_is_no_limit(session, monkeypatch):
    store_done(session)
    for name in ("FINDINGS_TIMEOUT", "PREVIEW_TIMEOUT"):
        monkeypatch.setenv(f"AIRFLOW__SAFE_CLEAR__{name}", "0")
    assert plan_of(days(1, 3)).findings_not_checked == ()


@pytest.mark.parametrize("text_", ["soon", "-1", "nan", "inf", ""])
@pytest.mark.parametrize("read", [config.preview_timeout, config.findings_timeout])
def test_a_time_that_cannot_be_read_is_refused(monkeypatch, text_, read):
    monkeypatch.setenv(f"AIRFLOW__SAFE_CLEAR__{read.__name__.upper()}", text_)
    with pytest.raises(Refused) as refused:
        read()
    assert refused.value.status == 503
    assert read.__name__ in refused.value.problem.reason


@pytest.mark.parametrize("where", ["rows", "findings"])
def test_a_preview_that_takes_too_long_is_refused_and_leaves_nothing(session, monkeypatch, where):
    store_done(session)
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__PREVIEW_TIMEOUT", "0.4")
    if where == "rows":
        monkeypatch.setattr(preview.plan_writer, "count_task_instances_per_run", never)
    else:
        monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__FINDINGS_TIMEOUT", "0")
        monkeypatch.setattr(concurrent_plans, "other_plans", never)
    with pytest.raises(Refused) as refused:
        plan_of(days(1, 3))
    assert refused.value.status == 503
    assert (
        refused.value.problem.reason
        == "The preview took longer than 0.4 s, so it was cancelled. Nothing was saved."
    )
    assert "preview_timeout" in refused.value.problem.remedy
    for table in (tables.plan, tables.plan_run, tables.plan_task_instance):
        assert session.scalar(select(func.count()).select_from(table)) == 0
    session.rollback()
    monkeypatch.undo()
    assert plan_of(days(1, 3)).task_instances == 9


def test_the_rest_of_a_transaction_has_its_own_time(session, backend):
    """The time that PostgreSQL is told holds for what is limited, and no longer."""
    inner, outer = statement_timeout.Budget(3), statement_timeout.Budget(5)
    with statement_timeout.limited(outer, session):
        session.execute(select(1))
        with statement_timeout.limited(inner, session):
            session.execute(select(1))
        with (
            pytest.raises(statement_timeout.OutOfTime),
            session.begin_nested(),
            statement_timeout.limited(statement_timeout.Budget(0.1), session),
        ):
            session.execute(endless(session))
        assert session.scalar(select(1)) == 1
    if backend.name == "postgresql":
        assert session.scalar(text("SHOW statement_timeout")) == "0"
    with statement_timeout.limited(statement_timeout.Budget(math.inf), session):
        with statement_timeout.limited(statement_timeout.Budget(2), session):
            session.execute(select(1))
        if backend.name == "postgresql":
            assert session.scalar(text("SHOW statement_timeout")) == "0"


def test_a_shorter_time_of_the_databases_own_counts(session, backend):
    if backend.name != "postgresql":
        pytest.skip("only PostgreSQL has a time for each statement")
    from airflow import settings as airflow

    def of_role(change):
        with airflow.engine.begin() as connection:
            connection.execute(text(f"ALTER ROLE CURRENT_USER {change}"))
        airflow.engine.dispose()

    session.close()
    of_role("SET statement_timeout = '200ms'")
    try:
        with airflow.NonScopedSession() as other:
            assert statement_timeout.read(endless(other), statement_timeout.Budget(30), other) is None
            assert other.scalar(text("SHOW statement_timeout")) == "200ms"
    finally:
        of_role("RESET statement_timeout")


def test_what_is_behind_a_finding_is_read_in_time(session, monkeypatch):
    from safe_clear_plugin.services.time_limit import reading_time

    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__FINDINGS_TIMEOUT", "0.2")
    with pytest.raises(Refused) as refused, reading_time(session):
        session.execute(endless(session))
    assert refused.value.status == 503


@pytest.mark.parametrize(
    ("read", "option"), [(preview_undo, "preview_timeout"), (summarize_undo, "findings_timeout")]
)
@pytest.mark.parametrize("where", ["statistics", "verdicts"])
def test_the_preview_of_an_undo_that_takes_too_long_is_ended(session, monkeypatch, where, read, option):
    store_done(session)
    plan = clear(days(1, 3))
    other_option = ({"preview_timeout", "findings_timeout"} - {option}).pop()
    monkeypatch.setenv(f"AIRFLOW__SAFE_CLEAR__{option.upper()}", "0.3")
    monkeypatch.setenv(f"AIRFLOW__SAFE_CLEAR__{other_option.upper()}", "0")
    if where == "statistics":
        monkeypatch.setattr(undo_preview.statistics, "refresh", never)
    else:
        monkeypatch.setattr(undo_preview, "_preview", never)
    with pytest.raises(TookTooLong) as refused:
        read(plan, now())
    assert refused.value.status == 503
    assert "0.3 s" in refused.value.problem.reason
    monkeypatch.undo()
    assert read(plan, now()).put_back == 9
    assert undo(plan).put_back == 9
