"""A selection of 200 tasks with names of 200 characters: nothing is lost, and the page stays small."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from safe_clear_plugin.web.plan import switches
from safe_clear_plugin.web.select import tab_page
from tests.support.auth import bearer, login
from tests.support.factories import make_run, store_dag
from tests.support.scenes import START
from tests.views.actions import forms, get, make, path, press, title

TASK_IDS = [f"task_{number:03}_".ljust(200, "x") for number in range(200)]
RUN_IDS = ["run_0", "run_1"]
MAX_PAGE = 280_000
"""Characters: 50 rows of the table, 100 lines of the grid, and each name in them a few times."""
PREVIEWS = "/safe_clear/previews"


@pytest.fixture
def dag(session):
    with DAG("long", schedule=None, start_date=START) as dag:
        for task_id in TASK_IDS:
            EmptyOperator(task_id=task_id)
    store_dag(dag, session=session)
    for day, run_id in enumerate(RUN_IDS):
        make_run(
            dag,
            session=session,
            logical_date=START + timedelta(days=day),
            run_id=run_id,
            state="failed",
            task_state="failed",
        )


@pytest.fixture
def plan(client, dag):
    """Return a plan of all tasks, in two runs."""
    found = make(client, dag_id="long", task_regex=None, task_ids=TASK_IDS, run_id=RUN_IDS)
    login(client, "admin")
    return found


def task_ids(form_page: str) -> list[str]:
    """Return what stands in the field of task ids."""
    text = re.search(r'<textarea[^>]*name="task_ids"[^>]*>(.*?)</textarea>', form_page, re.DOTALL)
    return html.unescape(text[1]).split() if text else []


def switch_form(page: str) -> dict[str, str]:
    form = next(form for form in forms(page) if form["id"] == "switches")
    return dict(form["fields"])


def test_the_form_of_a_plan_keeps_the_whole_selection(client, plan):
    page = client.get(path(plan)).text
    [address] = set(re.findall(r'href="([^"]+)" data-change>Edit selection<', page))
    form = client.get(html.unescape(address))
    assert form.status_code == 200
    assert task_ids(form.text) == TASK_IDS


def test_the_form_of_a_selection_without_a_plan_keeps_it_too(client, dag):
    login(client, "admin")
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/safe_clear/select").text)[1]
    given = {"dag_id": "long", "task_ids": TASK_IDS, "run_id": RUN_IDS, "state": "skipped"}
    refused = client.post(PREVIEWS, data={"csrf_token": token, **given})
    assert refused.status_code == 422
    assert "Edit selection" in refused.text
    form = press(client, refused.text, "Edit selection")
    assert form.status_code == 200
    assert title(form.text) == title(client.get("/safe_clear/select?dag_id=long").text)
    assert task_ids(form.text) == TASK_IDS
    assert "run_1" in form.text
    assert re.search(r'name="state" value="skipped" checked', form.text)


def test_a_short_selection_without_a_plan_is_edited_by_a_link(client, dag):
    answer = client.post(
        PREVIEWS,
        data={"dag_id": "long", "task_regex": "task_007", "state": "skipped", "run_id": "run_0"},
        headers={**bearer("admin"), "Accept": "text/html"},
    )
    link = re.search(r'<a class="btn[^"]*" href="([^"]+)">Edit selection</a>', answer.text)
    assert len(link[1]) < tab_page.MAX_IN_AN_ADDRESS
    assert "task_007" in link[1]


def test_who_may_not_clear_the_dag_gets_no_form_of_it(client, dag):
    body = {"dag_id": "long", "task_ids": TASK_IDS}
    for user, status in (("viewer", 403), ("admin", 200)):
        answer = client.post("/safe_clear/select", data=body, headers=bearer(user))
        assert answer.status_code == status, (user, answer.text[:300])


def test_the_page_repeats_no_long_selection(client, plan):
    page = client.get(path(plan)).text
    assert switch_form(page)["plan"] == plan["id"]
    assert "task_ids" not in switch_form(page)
    assert len(page) < MAX_PAGE
    # The tasks that the page leaves out are behind its links.
    listed = {
        row["task_id"] for row in get(client, plan, "/task_instances.json?limit=1000").get_json()["items"]
    }
    assert listed == set(TASK_IDS)


def test_a_switch_changes_the_selection_of_its_plan(client, plan):
    form = switch_form(client.get(path(plan)).text)
    given = {**form, "include_past": "true", "exclude_task_id": TASK_IDS[0], "reason": "why"}
    answer = client.post(PREVIEWS, data=given)
    assert answer.status_code == 303, answer.text
    changed = client.get(f"{answer.location}.json", headers=bearer("admin")).get_json()
    assert changed["selection"]["include_past"] is True
    assert changed["selection"]["task_ids"] == TASK_IDS
    assert changed["selection"]["exclude_task_id"] == [TASK_IDS[0]]
    assert changed["counts"]["task_instances"] == 2 * 199


@pytest.mark.parametrize(
    ("given", "status"),
    [({"plan": "0" * 32}, 404), ({"dag_id": "other"}, 422), ({"task_regex": "x"}, 422), ({"plan": ""}, 422)],
)
def test_a_plan_stands_for_the_whole_selection(client, plan, given, status):
    form = switch_form(client.get(path(plan)).text)
    assert client.post(PREVIEWS, data={**form, **given}).status_code == status


@pytest.mark.parametrize("given", [None, 5, True, [], ["x"], {}, "", "x" * 10_000])
def test_what_is_no_id_of_a_plan_is_refused_by_name(client, plan, given):
    answer = client.post(PREVIEWS, json={"plan": given, "include_past": True}, headers=bearer("admin"))
    assert answer.status_code == 422, answer.text
    assert list(answer.get_json()["errors"]) == ["plan"]


@pytest.mark.parametrize("given", [None, "load", 5, [], [5], {}])
def test_an_exclusion_of_another_type_is_refused_beside_a_plan_too(client, dag, given):
    """None of it may clear what the plan left out."""
    selection = {"dag_id": "long", "task_ids": TASK_IDS, "run_id": RUN_IDS, "exclude_task_id": TASK_IDS[:1]}
    made = client.post("/safe_clear/plans", json=selection, headers=bearer("admin")).get_json()
    body = {"plan": made["id"], "exclude_task_id": given}
    answer = client.post(PREVIEWS, json=body, headers=bearer("admin"))
    assert answer.status_code == 422, answer.text
    more = client.post(
        PREVIEWS, json={**body, "exclude_task_id": TASK_IDS[1:2]}, headers=bearer("admin")
    ).get_json()
    assert more["selection"]["exclude_task_id"] == TASK_IDS[:2]


def test_a_plan_that_the_caller_may_not_clear_stands_for_nothing(client, plan):
    body = {"plan": plan["id"], "include_past": "true"}
    answer = client.post(PREVIEWS, data=body, headers=bearer("viewer"))
    assert answer.status_code == 403


def test_a_short_selection_is_in_the_form_of_its_switches(client, dag):
    plan = make(client, dag_id="long", task_regex="task_007", run_id=["run_0"])
    login(client, "admin")
    form = switch_form(client.get(path(plan)).text)
    assert (form["task_regex"], form.get("plan")) == ("task_007", None)
    assert sum(len(value) for value in form.values()) < switches.MAX_FIELDS
