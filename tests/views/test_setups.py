"""Setups and teardowns in spite of a state filter: in a request, on a finding's button, and in the form."""

from __future__ import annotations

import re

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from tests.support.auth import bearer, login
from tests.support.factories import make_run, set_states, store_dag
from tests.support.scenes import START
from tests.views.actions import get, make, path

FAILED = {"task_regex": "^load$", "include_downstream": False, "state": ["failed"], "run_id": ["run_1"]}


@pytest.fixture(autouse=True)
def history(session):
    """Store a run whose work failed between a setup and a teardown that succeeded."""
    with DAG("etl", schedule=None, start_date=START) as dag:
        create = EmptyOperator(task_id="create").as_setup()
        delete = EmptyOperator(task_id="delete").as_teardown(setups=create)
        create >> EmptyOperator(task_id="load") >> delete
    store_dag(dag, session=session)
    run = make_run(dag, session=session, run_id="run_1", logical_date=START, state="failed")
    set_states(run, {"create": "success", "load": "failed", "delete": "success"}, session=session)


def tasks(client, plan):
    return sorted(item["task_id"] for item in get(client, plan, "/task_instances.json").get_json()["items"])


def test_a_program_takes_setups_and_teardowns_along_if_it_says_so(client):
    assert tasks(client, make(client, **FAILED)) == ["load"]
    plan = make(client, **FAILED, include_setups=True)
    assert tasks(client, plan) == ["create", "delete", "load"]
    assert plan["selection"]["include_setups"] is True


def test_the_button_of_the_finding_leads_to_a_plan_with_them(client):
    plan = make(client, **FAILED)
    [found] = [one for one in plan["findings"] if one["code"] == "setup_left_out"]
    assert found["level"] == "acknowledge"
    answer = client.post(path(plan, "/widen"), json={"field": "include_setups"}, headers=bearer("admin"))
    assert answer.status_code == 201
    assert tasks(client, answer.get_json()) == ["create", "delete", "load"]
    assert not {"setup_left_out", "teardown_left_out"} & {
        one["code"] for one in answer.get_json()["findings"]
    }


@pytest.mark.parametrize(("task_id", "is_on"), [("load", True), ("create", False)])
def test_the_tab_of_a_failed_task_instance_starts_with_the_switch_on(client, task_id, is_on):
    login(client, "admin")
    page = client.get(
        f"/safe_clear/?dag_id=etl&run_id=run_1&task_id={task_id}&map_index=%7BMAP_INDEX%7D"
    ).text
    boxes = [box for box in re.findall(r"<input [^>]*>", page) if 'type="checkbox"' in box]
    [switch] = [box for box in boxes if 'name="include_setups"' in box]
    assert ("checked" in switch) is is_on
