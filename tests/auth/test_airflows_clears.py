"""Airflow's own clears, sent to its own API, are in the history of users who may see their DAG."""

from __future__ import annotations

import pytest
from airflow.models.log import Log
from sqlalchemy import select

from tests.auth.application import Browser, Program, token
from tests.auth.fab_users import AUDITING, CLEARING, READING, make_user
from tests.support.environment import AUTH_MANAGERS
from tests.support.options import AIRFLOW_32

pytestmark = pytest.mark.airflow32

OPTIONS = {"AIRFLOW__CORE__AUTH_MANAGER": AUTH_MANAGERS["fab"]}
ONLY_ETL = AUDITING | {(action, "DAG:etl" if what == "DAGs" else what) for action, what in READING}


@pytest.fixture
def made(dags, airflow_app, session):
    """Return the fixture that logs in a program and a browser of a user with these rights."""

    def make(rights, name):
        jwt = token(make_user(session, name, rights))
        return Program(airflow_app, jwt), Browser(airflow_app, jwt)

    return make


@pytest.fixture
def program(made):
    return made(CLEARING | AUDITING, "maria")[0]


def clear(program, where, **body):
    answer = program.client.post(f"/api/v2/dags/{where}", json=body)
    assert answer.status_code == 200, answer.text


def listed(program, **query):
    answer = program.get("/history.json", params=query)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["complete"]
    assert body["total"] == len(body["items"])
    return body["items"]


def clear_in_each_way(program):
    clear(program, "etl/clearTaskInstances", dry_run=True, task_ids=["load"], dag_run_id="run_1")
    clear(
        program,
        "etl/clearTaskInstances",
        dry_run=False,
        task_ids=["load"],
        dag_run_id="run_1",
        include_downstream=True,
        only_failed=False,
    )
    clear(
        program,
        "etl/clearTaskInstances",
        dry_run=False,
        task_ids=[["transform", 3], "load"],
        dag_run_id="run_2",
    )
    clear(program, "other/dagRuns/run_1/clear", dry_run=True)
    clear(program, "other/dagRuns/run_1/clear", dry_run=False)


def test_each_of_airflows_ways_to_clear(program, session):
    clear_in_each_way(program)
    found = [item["airflow"] for item in listed(program)]
    assert [one["event"] for one in found] == [
        "clear_dag_run",
        "post_clear_task_instances",
        "post_clear_task_instances",
    ]
    assert {one["by"] for one in found} == {"maria"}
    assert found[0]["dag_runs"] == [{"dag_id": "other", "run_id": "run_1"}]
    assert found[1]["task_ids"] == ["transform", "load"]
    assert found[2]["options"] == {"include_downstream": True}
    assert len(session.scalars(select(Log.id).where(Log.event.like("%clear%"))).all()) == 3


@pytest.mark.skipif(AIRFLOW_32, reason="Airflow 3.2 clears one Dag run at a time")
def test_runs_of_several_dags(program, made):
    runs = [{"dag_id": "etl", "dag_run_id": "run_1"}, {"dag_id": "other", "dag_run_id": "run_2"}]
    clear(program, "~/clearDagRuns", dry_run=True, dag_runs=runs)
    assert listed(program) == []
    clear(program, "~/clearDagRuns", dry_run=False, dag_runs=runs)
    (item,) = listed(program)
    assert item["airflow"]["dag_ids"] == ["etl", "other"]
    (of_one,) = listed(program, dag_id="other", run_id="run_2")
    assert of_one["airflow"]["dag_runs"] == [{"dag_id": "other", "run_id": "run_2"}]
    assert listed(program, dag_id="other", run_id="run_1") == []
    narrow, page = made(ONLY_ETL, "jo")
    (seen,) = listed(narrow)
    assert seen["airflow"]["dag_ids"] == ["etl"]
    assert listed(narrow, dag_id="other") == []
    assert "<bdi>other</bdi>" not in page.get("/plans").text


def test_by_task_run_map_index_and_person(program):
    clear_in_each_way(program)

    def events(**query):
        return [item["airflow"]["dag_runs"][0]["run_id"] for item in listed(program, **query)]

    assert events(dag_id="etl") == ["run_2", "run_1"]
    assert events(task_id="load") == ["run_1", "run_2", "run_1"]  # the whole run of the other DAG first
    assert events(dag_id="etl", task_id="transform") == ["run_2"]
    assert events(dag_id="etl", task_id="transform", map_index=3) == ["run_2"]
    assert events(dag_id="etl", task_id="transform", map_index=2) == []
    assert events(dag_id="etl", task_id="load", map_index=2) == ["run_2", "run_1"]
    assert events(dag_id="etl", task_id="loa") == []
    assert events(dag_id="etl", run_id="run_2") == ["run_2"]
    assert events(dag_id="etl", run_id="run_%") == []
    assert events(user="MAR", dag_id="etl") == ["run_2", "run_1"]
    assert events(mine=True, dag_id="etl") == ["run_2", "run_1"]
    assert events(user="jo") == []
    assert events(status="airflow", dag_id="other") == ["run_1"]
    assert events(status="applied") == []
    assert events(date_to="2026-01-01") == []


def test_beside_those_of_safe_clear(program):
    clear(program, "etl/clearTaskInstances", dry_run=False, task_ids=["load"], dag_run_id="run_2")
    plan = program.plan()
    program.apply(plan)
    draft = program.plan(run_id=["run_3"])
    ours, airflows = listed(program, dag_id="etl")
    assert (ours["plan"]["id"], ours["airflow"]) == (plan["id"], None)
    assert (airflows["plan"], airflows["airflow"]["by"]) == (None, "maria")
    assert [item["plan"]["id"] for item in listed(program, drafts=True)] == [draft["id"]]
    oldest_first = listed(program, dag_id="etl", sort="at")
    assert oldest_first == [airflows, ours]


def test_only_of_dags_that_one_may_see(program, made):
    clear_in_each_way(program)
    narrow, page = made(ONLY_ETL, "jo")
    assert {dag_id for item in listed(narrow) for dag_id in item["airflow"]["dag_ids"]} == {"etl"}
    assert listed(narrow, dag_id="other") == []
    html = page.get("/plans").text
    assert html.count("Airflow’s own</span>") == 2
    assert "<bdi>other</bdi>" not in html
    nobody, _ = made(set(), "nobody")
    assert listed(nobody) == []


def test_only_with_permission_to_read_the_audit_log(program, made):
    clear(program, "etl/clearTaskInstances", dry_run=False, task_ids=["load"], dag_run_id="run_2")
    plan = program.plan()
    clear(program, "etl/clearTaskInstances", dry_run=False, task_ids=["transform"], dag_run_id="run_1")
    assert program.apply(plan).status_code == 409
    reader, page = made(READING, "jo")
    found = reader.get("/history.json").json()
    assert (found["audit_log"], found["total"]) == (False, 1)
    assert [item["airflow"] for item in found["items"]] == [None]
    assert reader.get("/history.json", params={"dag_id": "etl", "status": "airflow"}).json()["total"] == 0
    html = page.get("/plans").text
    assert "Airflow’s own</span>" not in html
    assert "with Airflow’s own clears" not in html
    assert "where you can’t read the audit log" in html
    assert "with Airflow itself" not in page.get(f"/plans/{plan['id']}").text
    clearer, tab = made(CLEARING, "kim")
    assert "was cleared" not in tab.get(f"/plans/{clearer.plan(run_id=['run_3'])['id']}").text
    auditor, page = made(READING | AUDITING, "lee")
    assert auditor.get("/history.json").json()["audit_log"]
    assert "where you can’t read the audit log" not in page.get("/plans").text


@pytest.mark.skipif(AIRFLOW_32, reason="Airflow 3.2 clears one Dag run at a time")
def test_runs_of_several_dags_only_with_permission_to_read_the_audit_log(program, made):
    runs = [{"dag_id": "etl", "dag_run_id": "run_1"}, {"dag_id": "other", "dag_run_id": "run_2"}]
    clear(program, "~/clearDagRuns", dry_run=False, dag_runs=runs)
    reader, _ = made(READING, "jo")
    assert listed(reader) == listed(reader, dag_id="etl") == []


def test_an_entry_that_cannot_be_read(program, session):
    for number, extra in enumerate(
        (None, "", "[]", "no JSON", '{"task_ids": 3, "dag_runs": "x", "dry_run": false}')
    ):
        session.add(Log(event="post_clear_task_instances", dag_id="etl", owner=f"u{number}", extra=extra))
    session.add(
        Log(event="clear_dag_runs", dag_id="~", owner="u", extra='{"dag_runs": [3, {}], "dry_run": false}')
    )
    session.commit()
    found = listed(program)
    assert [item["airflow"]["task_ids"] for item in found] == [[]] * 5


def test_a_stale_plan_says_who_cleared_it_with_airflow(program, made):
    clear(program, "etl/dagRuns/run_2/clear", dry_run=False)  # before the plan
    plan = program.plan()
    clear(program, "etl/clearTaskInstances", dry_run=False, task_ids=["transform"], dag_run_id="run_1")
    assert program.apply(plan).status_code == 409
    _, onlooker = made(READING | AUDITING, "jo")
    page = onlooker.get(f"/plans/{plan['id']}").text
    assert "<bdi>maria</bdi> cleared transform in run_1 with Airflow itself" in page
    assert page.count("with Airflow itself at") == 1
    # It may be unrelated to the change.
    assert page.index("Also cleared in this Dag since the preview") < page.index("with Airflow itself at")
    assert plan["id"] in page
