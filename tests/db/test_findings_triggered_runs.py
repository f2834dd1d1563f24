"""Dag runs that the cleared tasks trigger, and that exist: compared with Airflow's own ``trigger_dag``."""

from __future__ import annotations

from datetime import datetime, timezone
from uuid import UUID

import pytest
from airflow.api.common.trigger_dag import trigger_dag
from airflow.exceptions import DagRunAlreadyExists
from airflow.models.dagrun import DagRun
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from safe_clear_plugin.airflow_api.dag.triggered_runs import PlannedRun, pinned_triggers
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.storage.findings.affected_task_instances import affected_rows
from tests.db.acting import days, plan_of
from tests.db.finding_scenes import etl, findings_by_code, store, work
from tests.support.factories import make_run, serialized

pytestmark = pytest.mark.backend


def trigger(**options):
    """Return what makes the task ``start``, which triggers ``child``."""
    return lambda: TriggerDagRunOperator(task_id="start", trigger_dag_id="child", **options)


def child_runs(session, *run_ids, **options):
    dag = store(session, "child", work())
    for run_id in run_ids:
        make_run(dag, session=session, run_id=run_id, **options)
    session.commit()


def trigger_fails_in_airflow(session, asked):
    """Trigger runs of ``child`` as the tasks do, and count those that Airflow refuses."""
    failed = sum(_fails(run_id, logical_date) for run_id, logical_date in asked)
    session.rollback()
    return failed


def _fails(run_id, logical_date):
    try:
        trigger_dag(
            "child",
            triggered_by=DagRunTriggeredByType.OPERATOR,
            run_id=run_id,
            logical_date=logical_date,
            replace_microseconds=False,
        )
    except (DagRunAlreadyExists, IntegrityError):
        return True
    return False


@pytest.mark.parametrize(
    ("template", "rendered"),
    [
        pytest.param("fixed", "fixed", id="fixed id"),
        pytest.param("day_{{ ds }}", "day_2026-01-{day:02}", id="template of the date"),
        pytest.param("of_{{ run_id }}", "of_run_{day}", id="template of the run id"),
        pytest.param("{{ts_nodash}}_x", "202601{day:02}T000000_x", id="template of the time"),
    ],
)
def test_as_many_triggers_fail_as_foreseen(template, rendered, session):
    child_runs(session, rendered.format(day=1))
    etl(session, trigger(trigger_run_id=template), runs=3)
    found = findings_by_code(plan_of(days(1, 3)))["trigger_fails"]
    asked = [(rendered.format(day=day), None) for day in (1, 2, 3)]
    assert found.count == trigger_fails_in_airflow(session, asked)
    assert found.level == "warn"
    assert [(link.kind, link.id) for link in found.links] == [("dag", "child")]
    assert "child" not in found.title + found.detail


def listed(plan, code, session):
    session.rollback()
    rows = affected_rows(code, UUID(plan.id), "etl", session)
    return [(row.run_id, row.task_id, row.outcome_reason, row.related_task_id) for row in rows]


def test_the_task_instances_whose_run_exists_can_be_listed(session):
    child_runs(session, "day_2026-01-01", "day_2026-01-03")
    etl(session, trigger(trigger_run_id="day_{{ ds }}"), runs=4)
    plan = plan_of(days(1, 4))
    assert findings_by_code(plan)["trigger_fails"].rows
    assert listed(plan, "trigger_fails", session) == [
        (f"run_{day}", "start", "trigger_fails", None) for day in (1, 3)
    ]
    assert plan.outcomes["runs"] == 4


def test_the_second_of_two_with_the_same_id_fails(session):
    child_runs(session)
    etl(session, trigger(trigger_run_id="fixed"), runs=2)
    found = findings_by_code(plan_of(days(1, 2)))["trigger_fails"]
    assert found.count == trigger_fails_in_airflow(session, [("fixed", None)] * 2) == 1


def test_a_run_with_the_logical_date_fails_the_trigger(session):
    first, second = (datetime(2026, 1, day, tzinfo=timezone.utc) for day in (1, 2))
    child_runs(session, "by_hand", logical_date=first)
    etl(session, trigger(logical_date="{{ logical_date }}"), runs=2)
    found = findings_by_code(plan_of(days(1, 2)))["trigger_fails"]
    assert found.count == trigger_fails_in_airflow(session, [(None, first), (None, second)]) == 1


def test_deleting_the_existing_runs_lets_the_triggers_succeed(session):
    child_runs(session, "fixed")
    etl(session, trigger(trigger_run_id="fixed"), runs=1)
    assert "trigger_fails" in findings_by_code(plan_of(days(1, 1)))
    session.execute(delete(DagRun).where(DagRun.dag_id == "child"))
    session.commit()
    assert "trigger_fails" not in findings_by_code(plan_of(days(1, 1)))
    assert trigger_fails_in_airflow(session, [("fixed", None)]) == 0


def test_skip_when_already_exists_skips(session):
    child_runs(session, "fixed")
    etl(session, trigger(trigger_run_id="fixed", skip_when_already_exists=True), runs=1)
    plan = plan_of(days(1, 1))
    found = findings_by_code(plan)
    assert found["trigger_skips"].count == 1
    assert "trigger_fails" not in found
    assert listed(plan, "trigger_skips", session) == [("run_1", "start", "trigger_skips", None)]


def test_a_task_that_does_not_run_triggers_nothing(session):
    child_runs(session, "fixed")
    etl(session, trigger(trigger_run_id="fixed"), runs=1)
    assert "trigger_fails" not in findings_by_code(plan_of(days(1, 1, reset_dag_runs=False)))


def test_each_map_index_triggers(session):
    def build():
        TriggerDagRunOperator.partial(
            task_id="start", trigger_dag_id="child", trigger_run_id="fixed_{{ ds }}"
        ).expand(conf=[{}, {}, {}])

    child_runs(session)
    etl(session, build, runs=1)
    assert findings_by_code(plan_of(days(1, 1)))["trigger_fails"].count == 2


@pytest.mark.parametrize(
    "template",
    [
        "{{ macros.uuid.uuid4() }}",
        "{{ 'a' * 10**12 }}",
        "{% for n in range(10**9) %}x{% endfor %}",
        "{{ ds | upper }}",
        "{{ ds",
        "{{ params.x }}",
    ],
)
def test_what_only_the_run_knows_is_not_guessed(template, session):
    etl(session, trigger(trigger_run_id=template), runs=1)
    dag = serialized("etl", session=session)
    assert pinned_triggers(dag.task_dict.values()) == []


def test_a_run_without_a_logical_date_has_no_ds(session):
    etl(session, trigger(trigger_run_id="{{ ds }}"), runs=1)
    dag = serialized("etl", session=session)
    [found] = pinned_triggers(dag.task_dict.values())
    assert found.keys(PlannedRun("run_1", None, 1)) == set()


@pytest.mark.parametrize("date", ["{{ run_id }}", "P1D"])
def test_a_date_that_cannot_be_read_is_not_counted(date, session):
    child_runs(session, "x")
    etl(session, trigger(logical_date=date), runs=1)
    assert "trigger_fails" not in findings_by_code(plan_of(Selection("etl", run_id=("run_1",))))
    assert session.scalars(select(DagRun.run_id).where(DagRun.dag_id == "child")).all() == ["x"]
