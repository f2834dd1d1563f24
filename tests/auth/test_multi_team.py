"""``[core] multi_team``: a DAG belongs to a team by its bundle, and its plans do, even when it is gone."""

from __future__ import annotations

import pytest
from airflow.api.common.delete_dag import delete_dag
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models.dag import DagModel, DagTag
from airflow.models.dagbundle import DagBundleModel
from airflow.models.team import Team
from sqlalchemy import select

from safe_clear_plugin.airflow_api.auth.teams import dags_by_id
from safe_clear_plugin.core.plan import TeamDag
from safe_clear_plugin.storage.tables import plan as plans
from tests.auth.application import SELECTION, Browser, Program, token
from tests.auth.every_mode import WithLogin
from tests.support.environment import AUTH_MANAGERS
from tests.support.factories import BUNDLE_NAME

pytestmark = pytest.mark.airflow32

OPTIONS = {
    "AIRFLOW__CORE__AUTH_MANAGER": AUTH_MANAGERS["simple"],
    "AIRFLOW__CORE__MULTI_TEAM": "True",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
}


def of_team(*teams, role="op"):
    return token(SimpleAuthManagerUser(username=f"op of {teams}", role=role, teams=list(teams)))


@pytest.fixture
def owned(dags, session, monkeypatch):
    """Give ``etl`` to team a and ``other`` to team b."""
    for name, value in OPTIONS.items():
        monkeypatch.setenv(name, value)
    for team, dag_id in (("a", "etl"), ("b", "other")):
        bundle = session.get(DagBundleModel, BUNDLE_NAME) if team == "a" else DagBundleModel(name="of b")
        bundle.teams = [Team(name=team)]
        session.add(bundle)
        session.flush()
        session.get_one(DagModel, dag_id).bundle_name = bundle.name
    session.commit()


@pytest.fixture
def team_a(airflow_app):
    return Program(airflow_app, of_team("a"))


@pytest.fixture
def team_b(airflow_app):
    return Program(airflow_app, of_team("b"))


class TestEveryMode(WithLogin):
    @pytest.fixture
    def person(self, airflow_app, owned):
        return Browser(airflow_app, of_team("a", "b"))

    @pytest.fixture
    def program(self, airflow_app, owned):
        return Program(airflow_app, of_team("a", "b"))


def test_a_dag_of_another_team_does_not_exist(owned, team_a, team_b, unchanged_by):
    plan = team_a.plan()
    with unchanged_by():
        assert team_b.get(f"/plans/{plan['id']}.json").status_code == 404
        assert team_b.apply(plan).status_code == 404
        assert team_b.post("/plans", json=SELECTION).status_code == 404
        assert team_b.get("/plans.json").json()["total"] == 0
        assert [one["dag_id"] for one in team_b.get("/dags.json").json()["items"]] == ["other"]
    assert team_a.apply(plan).json()["status"] == "applied"


@pytest.mark.parametrize("query", ["", "&dag_id_regex=e", "&tag=shared", "&limit=1", "&state=failed"])
def test_what_failed_in_a_dag_of_another_team_is_not_listed(
    owned, airflow_app, session, team_a, team_b, query
):
    session.add_all(DagTag(name="shared", dag_id=dag_id) for dag_id in ("etl", "other"))
    session.commit()
    january = f"from=2026-01-01&to=2026-01-31{query}"
    everything = Program(airflow_app, of_team(role="admin")).get(f"/failed.json?{january}").json()
    assert everything["total"] == 2
    for program, own, foreign in ((team_a, "etl", "other"), (team_b, "other", "etl")):
        found = program.get(f"/failed.json?{january}").json()
        assert [item["dag_id"] for item in found["items"]] == [own]
        assert found["totals"]["dags"] == 1
        assert found["totals"]["task_instances"] < everything["totals"]["task_instances"]
        assert f'"{foreign}"' not in str(found).replace("'", '"')
        assert found["items"][0]["preview"]["body"]["dag_id"] == own
    page = Browser(airflow_app, of_team("b")).get(f"/failed?{january}").text
    assert "other" in page
    assert ">etl<" not in page


def test_the_plans_of_a_deleted_dag_stay_with_its_team(owned, airflow_app, session, team_a, team_b):
    kept, applied = team_a.plan(), team_a.plan(run_id=["run_2"])
    team_a.apply(applied)
    assert set(session.scalars(select(plans.c.team_name))) == {"a"}
    delete_dag("etl", session=session)
    session.commit()
    assert session.get(DagModel, "etl") is None
    stranger = Browser(airflow_app, of_team("b"))
    for plan in (kept, applied):
        path = f"/plans/{plan['id']}"
        for answer in (
            team_b.get(f"{path}.json"),
            team_b.get(f"{path}/task_instances.csv"),
            team_b.post(f"{path}/undo", json={}),
            team_b.post(f"{path}/stop", json={}),
            stranger.get(path),
        ):
            assert answer.status_code == 404
        assert team_a.get(f"{path}.json").status_code == 200
    assert team_b.get("/plans.json").json()["total"] == 0
    assert team_b.get("/plans.json?dag_id=etl").json()["total"] == 0
    assert "etl" not in stranger.get("/plans").text
    assert team_a.get("/plans.json").json()["total"] == 2
    admin = Program(airflow_app, of_team(role="admin"))
    assert admin.get("/plans.json").json()["total"] == 2


def test_a_dag_that_changed_its_team_takes_its_plans_along(owned, session, team_a, team_b):
    plan = team_a.plan()
    session.get_one(DagModel, "etl").bundle_name = "of b"
    session.commit()
    assert team_a.get(f"/plans/{plan['id']}.json").status_code == 404
    assert team_a.get("/plans.json").json()["total"] == 0
    assert team_b.get("/plans.json").json()["total"] == 1
    assert team_b.apply(plan).json()["status"] == "applied"


def test_a_dag_without_a_team_is_everybodys(owned, session, team_b):
    session.get_one(DagBundleModel, BUNDLE_NAME).teams = []
    session.commit()
    plan = team_b.plan()
    delete_dag("etl", session=session)
    session.commit()
    assert team_b.get(f"/plans/{plan['id']}.json").status_code == 200


def test_a_deleted_dag_that_only_its_id_is_known_of_is_nobodys(owned, session, monkeypatch):
    assert dags_by_id(["etl", "gone"], session) == [TeamDag("etl", "a")]
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "False")
    assert dags_by_id(["gone"], session) == [TeamDag("gone")]
