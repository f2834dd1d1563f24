"""What the scheduler is foreseen to do, on the page of a plan, in its file and in its JSON."""

from __future__ import annotations

import csv
import io
import re

import pytest

from safe_clear_plugin.core.outcomes import Outcome
from tests.support.auth import login
from tests.support.scenes import store_etl
from tests.views.actions import get, make, path

LOAD_ALONE = {"task_regex": "^load$", "include_downstream": False}
"""Its upstream task instances have failed and are not in the plan."""


@pytest.fixture
def plan(client, session):
    store_etl(session)
    plan = make(client, **LOAD_ALONE)
    login(client, "admin")
    return plan


def test_the_json_of_a_plan_counts_outcomes(client, plan):
    counts = dict.fromkeys(map(str, Outcome), 0)
    assert get(client, plan, ".json").get_json()["outcomes"] == {**counts, "upstream_failed": 3}


def test_each_task_instance_has_its_outcome_and_why(client, plan):
    items = get(client, plan, "/task_instances.json").get_json()["items"]
    assert {(item["outcome"], item["outcome_why"]) for item in items} == {("upstream_failed", "trigger rule")}
    assert {(item["effect"], item["by"]) for item in items} == {("clear", "clear")}


def test_each_dag_run_has_its_outcome(client, plan):
    runs = get(client, plan, ".json").get_json()["dag_runs"]
    assert {run["outcome"] for run in runs} <= {"runs", "fails"}


def test_the_first_screen_counts_outcomes(client, plan):
    page = client.get(path(plan)).text
    assert re.search(r"<dd>3 will be Upstream Failed; 0 succeeded before</dd>", page)


def test_the_table_and_the_file_say_the_outcome(client, plan):
    cells = re.findall(
        r'<td class="outcome not-run"><span>([^<]+)</span> <span class="because">([^<]+)<',
        client.get(path(plan)).text,
    )
    assert cells == [("Upstream Failed", "trigger rule")] * 3
    lines = list(csv.DictReader(io.StringIO(client.get(path(plan, "/task_instances.csv")).text)))
    assert {(line["outcome"], line["outcome_why"]) for line in lines} == {("upstream_failed", "trigger rule")}


def test_task_instances_that_are_left_out_have_no_outcome(client, session):
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import update

    store_etl(session)
    session.execute(update(TaskInstance).where(TaskInstance.task_id == "load").values(state="running"))
    session.commit()
    plan = make(client, task_regex="^(load|transform)$", include_downstream=False)
    items = get(client, plan, "/task_instances.json?effect=leave_out").get_json()["items"]
    assert items
    assert {item["outcome"] for item in items} == {None}
