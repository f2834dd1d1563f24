"""What the page and the JSON of a plan say about other DAGs, and when it will be done."""

from __future__ import annotations

import pytest
from airflow.models.dag import DagModel
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG
from sqlalchemy import update

from tests.support.auth import TEAM_A, TEAM_B
from tests.support.factories import make_run, store_dag
from tests.support.scenes import START
from tests.views.actions import get, make


@pytest.fixture
def scene(session, auth_manager_name):
    """Store a DAG of team A that triggers one of its own and one of team B."""
    fab = auth_manager_name == "fab"
    for dag_id, team in (("ours", TEAM_A), ("theirs_secret", TEAM_B)):
        with DAG(dag_id, schedule=None, start_date=START, **({"access_control": team} if fab else {})) as dag:
            EmptyOperator(task_id="work")
        store_dag(dag, session=session)
    with DAG("etl", schedule=None, start_date=START, **({"access_control": TEAM_A} if fab else {})) as dag:
        TriggerDagRunOperator(task_id="transform", trigger_dag_id="ours")
        TriggerDagRunOperator(task_id="transform_more", trigger_dag_id="theirs_secret")
    store_dag(dag, session=session)
    make_run(dag, session=session, logical_date=START, run_id="run_1", task_state="success")
    return dag


def triggers(plan):
    return next(finding for finding in plan["findings"] if finding["code"] == "triggers")


def test_a_reader_learns_of_the_dags_that_they_may_read(client, scene):
    plan = make(client, task_regex="transform")
    assert {link["id"] for link in triggers(plan)["links"]} == {"ours", "theirs_secret"}


def test_other_dags_are_only_counted(client, scene, auth_manager_name):
    if auth_manager_name != "fab":
        pytest.skip("SimpleAuthManager knows no permissions per DAG")
    plan = make(client, task_regex="transform")
    seen = get(client, plan, user="operator").get_json()
    assert [link["id"] for link in triggers(seen)["links"]] == ["ours"]
    assert "You can't see 1 Dag of these." in triggers(seen)["detail"]
    assert "2 other Dags" in triggers(seen)["title"]
    for rest in ("", ".json"):
        assert "theirs_secret" not in get(client, plan, rest, user="operator").text


def test_the_list_of_triggers_names_the_dags_that_a_reader_may_read(
    client, session, scene, auth_manager_name
):
    plan = make(client, task_regex="transform")
    whole = get(client, plan, "/findings/triggers.json").get_json()
    assert (whole["count"], whole["total"]) == (2, 2)
    assert [item["details"] for item in whole["items"]] == [["ours"], ["theirs_secret"]]
    if auth_manager_name != "fab":
        return
    seen = get(client, plan, "/findings/triggers.json?limit=1&offset=1", user="operator").get_json()
    assert [(item["task_id"], item["details"]) for item in seen["items"]] == [("transform_more", [])]
    page = get(client, plan, "/findings/triggers", user="operator").text
    assert ">Triggers</th>" in page
    assert '<td class="why"><bdi>ours</bdi></td>' in page
    assert "a Dag that you can't see" in page
    assert "theirs_secret" not in page


def test_the_list_of_triggers_of_a_dag_that_a_reader_may_not_read(client, session, auth_manager_name):
    if auth_manager_name != "fab":
        pytest.skip("SimpleAuthManager knows no permissions per DAG")
    with DAG("etl", schedule=None, start_date=START, access_control=TEAM_B) as dag:
        TriggerDagRunOperator(task_id="transform", trigger_dag_id="{{ var.value.dag }}")
    store_dag(dag, session=session)
    make_run(dag, session=session, logical_date=START, run_id="run_1", task_state="success")
    plan = make(client)
    assert "not known until the task runs" in get(client, plan, "/findings/triggers").text
    for rest in ("", ".json"):
        assert get(client, plan, f"/findings/triggers{rest}", user="operator").status_code == 404


def test_the_estimate_as_json_and_on_the_page(client, scene):
    plan = make(client, task_regex="transform")
    assert plan["estimate"]["task_seconds"] == 120
    assert plan["estimate"]["seconds"] == 60
    page = get(client, plan, "").text
    assert "Likely done" in page
    assert "<dd>2 min of task time</dd>" in page


def test_nothing_is_done_while_the_dag_is_paused(client, session, scene):
    session.execute(update(DagModel).where(DagModel.dag_id == "etl").values(is_paused=True))
    session.commit()
    page = get(client, make(client, task_regex="transform"), "").text
    assert "not while the Dag is paused; 2 min of task time" in page


def test_a_plan_that_starts_nothing_has_no_end(client, scene):
    plan = make(client, task_regex="transform", reset_dag_runs=False)
    assert plan["estimate"] is None
    assert "nothing will start" in get(client, plan, "").text
