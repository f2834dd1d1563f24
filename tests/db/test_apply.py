"""Preview and apply on a real metadata DB."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from safe_clear_plugin.airflow_api.audit import Actor
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.apply import apply_plan
from safe_clear_plugin.services.preview import make_plan
from tests.support.factories import make_run, set_states, store_dag
from tests.support.snapshots import diff_snapshots, snapshot

ME = Actor("1", "Me")
OWN_TABLES = (
    "safe_clear_plan",
    "safe_clear_plan_run",
    "safe_clear_plan_task",
    "safe_clear_plan_task_instance",
)


def now():
    return datetime.now(timezone.utc)


@pytest.fixture
def etl(session):
    with DAG("etl", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        (
            EmptyOperator(task_id="extract")
            >> EmptyOperator(task_id="transform")
            >> EmptyOperator(task_id="load")
        )
    store_dag(dag, session=session)
    for _ in range(3):
        run = make_run(dag, session=session)
        set_states(
            run, {"extract": "success", "transform": "failed", "load": "upstream_failed"}, session=session
        )
    return dag


def days(first, last, **more):
    return Selection(
        "etl",
        date_from=datetime(2026, 1, first, tzinfo=timezone.utc),
        date_to=datetime(2026, 1, last, tzinfo=timezone.utc),
        **more,
    )


def test_what_was_shown_is_cleared_and_nothing_else(etl, session):
    before = snapshot(session)
    plan = make_plan(days(1, 2, task_regex="^trans", include_downstream=True), ME, now())
    assert (plan.task_instances, plan.dag_runs) == (4, 2)
    assert diff_snapshots(before, snapshot(session)).keys() <= set(OWN_TABLES)
    after = apply_plan(plan, plan.fingerprint, "because", ME, now())
    assert after.status == "applied", after.problem
    session.expire_all()
