"""The label that ``map_index_template`` makes of a map index, in each place that names a task instance."""

from __future__ import annotations

import csv
import io
import re

import pytest
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task
from sqlalchemy import update

from tests.support.auth import login
from tests.support.factories import make_run, set_states, store_dag
from tests.support.scenes import START
from tests.views.actions import apply_all, get, make, path, undo_all

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]

LABELS = ("eu", "<b>us</b>", None)


@pytest.fixture(autouse=True)
def _history(session):
    """A mapped task with a failed index and an index without a label, with a task before and after it."""
    with DAG("etl", schedule=None, start_date=START) as dag:

        @task
        def region(name):
            return name

        (
            EmptyOperator(task_id="before")
            >> region.expand(name=["eu", "us", "apac"])
            >> EmptyOperator(task_id="after")
        )
    store_dag(dag, session=session)
    run = make_run(dag, session=session, run_id="run", task_state="success", state="failed")
    set_states(run, {("region", 1): "failed"}, session=session)
    for index, label in enumerate(LABELS):
        of_index = (TaskInstance.task_id == "region", TaskInstance.map_index == index)
        session.execute(update(TaskInstance).where(*of_index).values(_rendered_map_index=label))
    session.commit()


def plan_of(client, **more):
    return make(client, run_id=["run"], **{"task_regex": "^region$", "include_downstream": None, **more})


def cells(page):
    """Return the names of the task instances that a table lists."""
    found = re.findall(r'<td class="task">(.*?)</td>', page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", "", one).split()) for one in found]


def test_the_table_shows_index_and_label(client):
    login(client, "admin")
    page = client.get(path(plan_of(client))).text
    assert cells(page) == ["region [0] eu", "region [1] &lt;b&gt;us&lt;/b&gt;", "region [2]"]
    assert "<b>us</b>" not in page


@pytest.mark.parametrize(
    ("index", "said"), [(0, "Tasks ^region$ [0] eu Runs run"), (2, "Tasks ^region$ [2] Runs run")]
)
def test_the_selection_is_said_with_it(client, index, said):
    login(client, "admin")
    page = client.get(path(plan_of(client, map_index=index))).text
    assert said in " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_json_and_csv_have_it(client):
    plan = plan_of(client)
    items = get(client, plan, "/task_instances.json").get_json()["items"]
    assert [(one["map_index"], one["rendered_map_index"]) for one in items] == list(enumerate(LABELS))
    rows = csv.DictReader(io.StringIO(get(client, plan, "/task_instances.csv").text))
    assert [row["rendered_map_index"] for row in rows] == ["eu", "<b>us</b>", ""]


def test_the_rows_of_a_finding_have_it(client):
    plan = plan_of(client, task_regex="^before$")
    found = get(client, plan, "/findings/stale_downstream.json").get_json()["items"]
    assert ("region", "eu") in {(one["task_id"], one["rendered_map_index"]) for one in found}
    login(client, "admin")
    assert "region [0] eu" in cells(client.get(path(plan, "/findings/stale_downstream")).text)


def test_what_an_undo_leaves_has_it(client, session):
    plan = plan_of(client)
    apply_all(client, plan)
    started = (TaskInstance.task_id == "region", TaskInstance.map_index == 0)
    session.execute(update(TaskInstance).where(*started).values(state="running"))
    session.commit()
    stays = get(client, plan, "/undo.json").get_json()["stays"]
    assert [(one["map_index"], one["rendered_map_index"]) for one in stays] == [(0, "eu")]
    undo_all(client, plan)
    login(client, "admin")
    receipt = client.get(path(plan)).text
    assert re.search(r'\[0\] <bdi class="label-of-index">eu</bdi>', receipt)
