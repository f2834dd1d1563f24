"""The grid on the plan's page, on its receipt, and by itself."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup
from sqlalchemy import update

from safe_clear_plugin.storage.tables import plan_run, plan_task_instance
from tests.support.auth import login
from tests.support.factories import make_run, store_dag
from tests.support.scenes import START, store_etl
from tests.views.actions import apply_all, get, make, path

EVIL = '"><img src=x onerror=alert(1)>'


@pytest.fixture
def plan(client, session):
    dag = store_etl(session, runs=9)
    make_run(dag, session=session, logical_date=START + timedelta(days=9), run_id="run_10", state="success")
    plan = make(client, date_from="2026-01-04", date_to="2026-01-06", include_downstream=False)
    login(client, "admin")
    return plan


def grid(client, plan, query=""):
    answer = client.get(path(plan, f"/grid{query}"))
    assert answer.status_code == 200
    return answer.text


def lines(page: str) -> dict[str, list[str]]:
    """Return what each line says, cell by cell."""
    found = {}
    words = {name: html.unescape(text) for name, text in re.findall(r'<span id="(w\d+)">([^<]*)<', page)}
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    for row in re.findall(r"<tr[^>]*>(.*?)</tr>", body, re.DOTALL):
        name = re.search(r'data-name="([^"]*)"', row)
        cells = re.findall(r'<td(?: class="[^"]*")?(?: aria-labelledby="([^"]*)")?>', row)
        found[html.unescape(name[1]) if name else "dag run"] = [words.get(cell, "") for cell in cells[:-1]]
    return found


def test_runs_across_tasks_down(client, plan):
    page = client.get(path(plan)).text
    found = lines(page)
    assert list(found) == ["dag run", "extract", "transform", "load"]
    assert found["dag run"] == ["Failed"] * 3 + ["Failed → Queued"] * 3 + ["Failed"] * 3
    assert found["transform"] == ["Failed"] * 3 + ["Failed → No Status; matched"] * 3 + ["Failed"] * 3
    assert found["load"] == ["Upstream Failed"] * 9
    heads = re.findall(r'<th scope="col" aria-label="([^"]+)"', page)
    assert heads[0] == "Thu 2026-01-01 00:00 UTC, run_1, not in the plan"
    assert heads[3] == "Sun 2026-01-04 00:00 UTC, run_4"
    assert len(heads) == 9
    assert 'role="grid"' in page
    assert '<col span="3" class="beside"><col span="3" class="band"><col span="3" class="beside">' in page


def test_what_succeeded_downstream_is_marked_stale(client, session, plan):
    session.execute(update(DagRun).values(state="success"))
    session.execute(update(TaskInstance).values(state="success"))
    session.commit()
    new = make(client, date_from="2026-01-04", date_to="2026-01-06", include_downstream=False)
    found = lines(grid(client, new))
    assert found["load"] == ["Success"] * 3 + ["Success, will go stale"] * 3 + ["Success"] * 3
    assert found["extract"] == ["Success"] * 9
    assert "3 stale" in grid(client, new)


def test_zooming_without_a_script(client, plan):
    page = client.get(path(plan, "?grid=day&state=failed")).text
    assert 'aria-current="true" data-zoom>By day' in page
    assert lines(page)["transform"][3:6] == ["Failed → No Status; matched"] * 3
    days = re.findall(r'<a href="([^"]+)" data-zoom aria-label="([^"]+)"', page)
    assert [label for _, label in days] == [
        "Sun 4 Jan 2026, 1 run",
        "Mon 5 Jan 2026, 1 run",
        "Tue 6 Jan 2026, 1 run",
    ]
    address = html.unescape(days[1][0])
    assert address == path(plan, "?state=failed&from=2026-01-05&to=2026-01-06#grid")
    zoomed = client.get(address).text
    assert "<b>Mon 5 Jan 2026</b>, 1 run" in zoomed
    assert lines(zoomed)["dag run"] == ["Failed → Queued"]
    assert 'name="state"' in zoomed


@pytest.mark.parametrize(
    "query",
    [
        "?to=&grid=",
        "?from=9999-12-31T23:59:59.999999&grid=hour",
        "?to=0001-01-01&grid=year",
        "?first_row=99999&first_column=99999",
        "?open=nothing&open=%ff",
        "?grid=hour",
        "?grid=week",
        "?grid=month&from=2026-01-05T03:07",
        "?grid=year",
    ],
)
def test_whatever_is_asked_for(client, plan, query):
    found = lines(grid(client, plan, query))
    assert {"dag run", "extract", "transform", "load"} == set(found)
    assert client.get(path(plan, query)).status_code == 200


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("?grid=nonsense", "grid"),
        ("?from=yesterday&to=", "from"),
        ("?from=0001-01-01T00:00:00%2B14:00", "from"),
        ("?first_row=x", "first_row"),
        ("?first_row=-1", "first_row"),
        ("?open=%00", "open"),
        ("?grid=run&grid=day", "grid"),
        ("?zoom=day", "zoom"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(client, plan, query, name):
    for rest in ("", "/grid"):
        answer = client.get(path(plan, rest + query))
        assert answer.status_code == 422
        assert f"<code>{name}</code>" in answer.text


def test_links_filter_the_table(client, plan):
    page = grid(client, plan, "?task=x&grid=run")
    tasks = re.findall(r'<a href="([^"]+)" data-filters><bdi>', page)
    assert [html.unescape(href) for href in tasks] == [
        path(plan, "?grid=run&task_id=transform#task-instances")
    ]
    runs = re.findall(r'<a href="([^"]+)" data-filters aria-label', page)
    assert html.unescape(runs[0]) == path(plan, "?grid=run&run_id=run_4#task-instances")
    assert len(runs) == 3


def test_the_receipt_shows_the_states_now(client, session, plan):
    apply_all(client, plan)
    page = client.get(path(plan)).text
    found = lines(page)
    assert found["transform"][2:7] == ["Failed", *["No Status, cleared"] * 3, "Failed"]
    assert found["dag run"][2:7] == ["Failed", *["Queued, cleared"] * 3, "Failed"]
    assert "data-moving" in page
    assert "data-filters" not in page
    session.execute(update(TaskInstance).where(TaskInstance.task_id == "transform").values(state="success"))
    session.commit()
    again = grid(client, plan)
    assert lines(again)["transform"][2:7] == ["Success", *["Success, cleared"] * 3, "Success"]
    assert "data-moving" not in again


def test_who_may_not_see_the_plan_sees_no_grid(client, plan):
    for part in ("/grid", "/rows"):
        assert get(client, plan, part, user="nobody").status_code == 404
    assert get(client, plan, "/grid", user="viewer").status_code == 200
    assert client.get("/safe_clear/plans/0/grid").status_code == 404


def test_hostile_names(client, session):
    long = "x" * 200 + "\u202e\u05d0<b>"
    with DAG("evil", schedule=None, start_date=START) as dag:
        with TaskGroup("g" * 200):
            EmptyOperator(task_id="t" * 40)
        EmptyOperator(task_id="plain")
    store_dag(dag, session=session)
    run = make_run(dag, session=session, logical_date=START, run_id="run", task_state="success")
    plan = make(client, dag_id="evil", task_regex=None, run_id=[run.run_id], include_downstream=False)
    for column, value in (("task_id", EVIL), ("run_id", long)):
        if column == "run_id":
            session.execute(update(plan_run).values(run_id=value))
        session.execute(
            update(plan_task_instance)
            .where(plan_task_instance.c.task_id.in_(("plain", EVIL)) if column == "task_id" else True)
            .values({column: value})
        )
    session.commit()
    login(client, "admin")
    page = client.get(path(plan)).text
    assert EVIL not in page
    assert "<img" not in page
    assert html.escape(EVIL, quote=True).replace("&quot;", "&#34;") in page
    assert "<b>, not" not in page
    found = lines(page)
    assert found[EVIL][0] == "Success → No Status; whole run"
    assert client.get(path(plan, f"?open={EVIL}&run={EVIL}")).status_code == 200
    refused = client.get(path(plan, f"?grid={EVIL}&from={EVIL}"))
    assert refused.status_code == 422
    assert "<img" not in refused.text


def test_many_tasks_are_folded_and_opened_by_a_link(client, session):
    with DAG("wide", schedule=None, start_date=START) as dag:
        with TaskGroup("quiet"):
            for number in range(30):
                EmptyOperator(task_id=f"q{number}")
        for number in range(30):
            EmptyOperator(task_id=f"t{number}")
    store_dag(dag, session=session)
    make_run(dag, session=session, logical_date=START, run_id="run", task_state="success")
    plan = make(client, dag_id="wide", task_regex="^t1$", run_id=["run"], include_downstream=False)
    login(client, "admin")
    page = client.get(path(plan)).text
    assert "30 tasks not in the plan" in page
    assert "quiet.q7" not in page
    link = re.search(
        r'class="fold-link" href="([^"]+)" data-zoom aria-expanded="false">(?:(?!</a>).)*quiet', page
    )
    assert link
    opened = client.get(html.unescape(link[1])).text
    assert lines(opened)["quiet.q7"] == ["Success"]
    assert 'aria-expanded="true"' in opened


def test_many_tasks_stay_within_a_page(client, session):
    with DAG("thousand", schedule=None, start_date=START) as dag:
        for number in range(240):
            EmptyOperator(task_id=f"task_{number:04}")
    store_dag(dag, session=session)
    for day in range(20):
        make_run(dag, session=session, logical_date=START + timedelta(days=day), task_state="success")
    plan = make(client, dag_id="thousand", task_regex=None, include_downstream=False)
    assert plan["counts"]["task_instances"] == 20 * 240
    login(client, "admin")
    page = client.get(path(plan))
    assert len(page.data) < 300_000
    assert "Rows 1 to " in page.text
    following = re.search(r'href="([^"]+first_row=[^"]+)"', page.text)
    assert following
    found = lines(client.get(html.unescape(following[1])).text)
    assert "task_0000" not in found
    assert found["task_0199"] == ["Success → No Status; whole run"] * 20
