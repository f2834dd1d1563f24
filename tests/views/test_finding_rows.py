"""The rows behind a finding, on its page and as JSON."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AsyncCallback, DeadlineAlert, DeadlineReference

from tests.support.auth import login
from tests.support.factories import make_run, nobody, store_dag
from tests.support.scenes import START, etl_dag
from tests.views.actions import get, make, path

ROW = re.compile(r'<tr>\s*<td class="task">(.*?)</tr>', re.DOTALL)
CELL = re.compile(r"<td.*?>(.*?)</td>", re.DOTALL)


def plain(text):
    """Return the words of some HTML."""
    return html.unescape(" ".join(re.sub(r"<svg.*?</svg>|<[^>]+>", " ", text, flags=re.DOTALL).split()))


def opened(client, plan, code):
    """Follow the link of a finding on the plan's page; return the page and its rows as words."""
    login(client, "admin")
    address = re.search(rf'href="([^"]*/findings/{code})">(Show [^<]*)<', client.get(path(plan)).text)
    page = client.get(html.unescape(address[1])).text
    return page, [
        [plain(cell) for cell in CELL.findall(f'<td class="task">{row}')] for row in ROW.findall(page)
    ]


def answered(client, plan, code, **more):
    """Return the finding's rows as JSON."""
    wanted = "&".join(f"{name}={value}" for name, value in more.items())
    answer = get(client, plan, f"/findings/{code}.json?{wanted}")
    assert answer.status_code == 200, answer.text
    return answer.get_json()


def dag_of(*task_ids):
    with DAG("etl", schedule=None, start_date=START) as dag:
        for task_id in task_ids:
            EmptyOperator(task_id=task_id)
    return dag


def test_page_lists_the_changes_of_a_dag_version(client, session):
    store_dag(dag_of("transform", "old"), session=session)
    make_run("etl", session=session, logical_date=START, run_id="run_1", task_state="success")
    store_dag(dag_of("transform", "new"), session=session)
    for code, by, more in (("moves_to_latest", "", True), ("scheduler_changes", "scheduler_", None)):
        plan = make(client, run_on_latest_version=more)
        page, rows = opened(client, plan, code)
        assert ">Change</th>" in page
        assert rows == [
            ["new", "0 tries", "Does not exist yet becomes No Status", "Create"],
            ["old", "1 try", "Success becomes Removed", "Mark removed"],
        ]
        answer = answered(client, plan, code, limit=1, offset=1)
        assert (answer["count"], answer["total"]) == (2, 2)
        [item] = answer["items"]
        changes = ("old", f"{by}remove{'s' if by else ''}", "success", "removed")
        assert (item["task_id"], item["effect"], item["state"], item["foreseen_state"]) == changes


def test_page_lists_dag_runs_and_task_instances_with_callbacks(client, session):
    with DAG("etl", schedule=None, start_date=START, on_failure_callback=nobody) as dag:
        EmptyOperator(task_id="transform", on_retry_callback=nobody, on_success_callback=nobody)
        EmptyOperator(task_id="quiet")
    store_dag(dag, session=session)
    make_run("etl", session=session, logical_date=START, run_id="run_1", task_state="success")
    plan = make(client, task_regex=".*")
    page, rows = opened(client, plan, "callbacks")
    assert "Show the 2 rows" in client.get(path(plan)).text
    assert ">Dag runs and task instances</h2>" in page
    assert rows == [
        ["Dag run", "", "Success becomes Queued", "on_failure_callback"],
        ["transform", "1 try", "Success", "on_success_callback , on_retry_callback"],
    ]
    answer = answered(client, plan, "callbacks")
    assert (answer["count"], answer["total"]) == (2, 2)
    run, task = answer["items"]
    assert (run["run_id"], run["task_id"], run["map_index"]) == ("run_1", None, None)
    assert (run["state"], run["foreseen_state"], run["effect"]) == ("success", "queued", None)
    assert run["details"] == ["on_failure_callback"]
    assert (task["task_id"], task["effect"]) == ("transform", "clear")
    assert task["details"] == ["on_success_callback", "on_retry_callback"]


def test_page_lists_task_instances_that_a_task_limit_holds_back(client, session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        EmptyOperator(task_id="transform", max_active_tis_per_dag=1)
        EmptyOperator(task_id="free")
    store_dag(dag, session=session)
    for day in (1, 2):
        date = START.replace(day=day)
        make_run("etl", session=session, logical_date=date, run_id=f"run_{day}", task_state="success")
    plan = make(client, task_regex=".*")
    page, rows = opened(client, plan, "task_limits")
    assert "Show the 2 task instances" in client.get(path(plan)).text
    assert ">Limit</th>" in page
    assert rows == [["transform", "1 try", "Success", "max_active_tis_per_dag = 1"]] * 2
    answer = answered(client, plan, "task_limits", limit=1, offset=1)
    [item] = answer["items"]
    assert (answer["total"], item["run_id"]) == (2, "run_2")
    assert item["details"] == ["max_active_tis_per_dag = 1"]


def test_page_lists_task_instances_that_update_assets(client, session):
    with DAG("etl", schedule=None, start_date=START) as dag:
        EmptyOperator(task_id="transform", outlets=[Asset("sales"), Asset("<b>")])
        EmptyOperator(task_id="quiet")
    store_dag(dag, session=session)
    make_run("etl", session=session, logical_date=START, run_id="run_1", task_state="success")
    plan = make(client, task_regex=".*")
    page, rows = opened(client, plan, "assets")
    assert ">Updates</th>" in page
    assert rows == [["transform", "1 try", "Success", "sales , <b>"]]
    answer = answered(client, plan, "assets")
    assert (answer["count"], answer["total"]) == (1, 1)
    [item] = answer["items"]
    assert (item["task_id"], item["details"]) == ("transform", ["sales", "<b>"])


def test_runs_whose_deadline_breaks_a_clear_are_links(client, session):
    reference = DeadlineReference.DAGRUN_QUEUED_AT
    alert = DeadlineAlert(reference=reference, interval=timedelta(hours=1), callback=AsyncCallback(nobody))
    with DAG("etl", schedule=None, start_date=START, deadline=alert) as dag:
        EmptyOperator(task_id="transform")
    store_dag(etl_dag("bystander"), session=session)  # Airflow rolls back once on the way, the bundle too
    store_dag(dag, session=session)
    make_run("etl", session=session, logical_date=START, run_id="a:b", state="failed", task_state="failed")
    plan = make(client)
    found = [one for one in plan["findings"] if one["code"] == "deadline_breaks_clear"]
    if not found:
        pytest.skip("this Airflow clears such runs")
    assert found[0]["links"] == [{"kind": "dag_run", "id": "a:b", "text": ""}]
    assert re.search(r'href="[^"]*/dags/etl/runs/a%3Ab"[^>]*><bdi>a:b</bdi>', get(client, plan, "").text)
