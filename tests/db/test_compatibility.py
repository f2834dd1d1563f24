"""On an Airflow that was not tested, and across an upgrade, nothing is cleared, undone or altered."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from airflow.models import taskinstance
from sqlalchemy import inspect, text

from safe_clear_plugin.airflow_api.platform import compatibility, config, expected_tables
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.services.clear.approval import request_approval
from safe_clear_plugin.services.planning.derived_plans import plan_remaining
from safe_clear_plugin.services.undo.undo_preview import preview_undo
from safe_clear_plugin.storage.mirrors import missing_columns
from tests.db.acting import ME, clear, days, now, plan_of, reread, step, undo
from tests.support.later_airflow import later_patch
from tests.support.scenes import store_etl
from tests.support.snapshots import diff_snapshots, snapshot
from tests.support.statements import statements

pytestmark = pytest.mark.airflow32


@pytest.fixture(autouse=True)
def _afresh():
    """Compare Airflow again in each test, and once more after it."""
    compatibility.forget()
    yield
    compatibility.forget()


@pytest.fixture
def dag(session, monkeypatch):
    """Three runs, a run a batch."""
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "2")
    return store_etl(session, runs=3)


@pytest.fixture
def later(monkeypatch):
    """An Airflow of a later version, in which nothing that Safe Clear stands on has changed."""
    monkeypatch.setattr(config, "AIRFLOW_VERSION", "3.4.0")
    compatibility.forget()


@pytest.fixture
def migrated(session):
    """Migrate Airflow's tables as a later version does, and back at the end."""
    undone: list[str] = []

    def migrate(there: str, back: str) -> None:
        run(there, "UPDATE alembic_version SET version_num = 'later' || version_num")
        undone.append(back)

    def run(*ddl: str) -> None:
        session.close()
        engine = session.get_bind()
        with engine.begin() as connection:
            for statement in ddl:
                connection.execute(text(statement))
        engine.dispose()

    revision = session.scalar(text("SELECT version_num FROM alembic_version"))
    yield migrate
    run(*undone, f"UPDATE alembic_version SET version_num = '{revision}'")


NEW_COLUMN = (
    "ALTER TABLE task_instance ADD COLUMN working_set BOOLEAN",
    "ALTER TABLE task_instance DROP COLUMN working_set",
)
RENAMED_COLUMN = (
    "ALTER TABLE task_instance RENAME COLUMN map_index TO region_index",
    "ALTER TABLE task_instance RENAME COLUMN region_index TO map_index",
)
NO_TABLE = ("ALTER TABLE task_reschedule RENAME TO gone", "ALTER TABLE gone RENAME TO task_reschedule")


def refusal(act: Any, *arguments: Any) -> Refused:
    with pytest.raises(Refused) as raised:
        act(*arguments)
    assert raised.value.status == 409
    assert raised.value.details == {"code": "unsupported_airflow"}
    return raised.value


def test_this_airflow_is_supported(session):
    assert compatibility.find_unsupported() is None


def test_once_it_was_found_to_fit_nothing_more_is_asked(session):
    compatibility.find_unsupported()
    with statements(session) as sent:
        assert compatibility.find_unsupported() is None
        assert sent == []
        assert compatibility.check(session.connection()) is None
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("version", "supported"),
    [
        ("3.2.0", True),
        ("3.3.1+astro.2", True),
        ("3.3.0rc1", True),
        ("3.4.0.dev0", False),
        ("3.10.0", False),
        ("4.0.0", False),
        ("3.1.7", False),
        ("main", False),
    ],
)
def test_patch_releases_and_local_versions_are_of_their_minor_version(version, supported):
    assert (compatibility.minor_of(version) in expected_tables.WRITTEN_TABLES) == supported


@pytest.mark.usefixtures("later")
def test_a_later_version_previews_and_clears_nothing(dag, session):
    plan = plan_of(days(1, 3))
    before = snapshot(session)
    refused = refusal(step, plan)
    assert str(refused) == (
        f"Safe Clear was tested with Airflow {compatibility.SUPPORTED}; this is 3.4.0. "
        "Therefore Safe Clear clears and undoes nothing here. Upgrade Safe Clear to a version that "
        "supports Airflow 3.4.0. Plans and receipts are shown until then."
    )
    refusal(request_approval, plan, "because", ME, now())
    assert diff_snapshots(before, snapshot(session)) == {}
    assert reread(plan, session).status == "ready"


def test_what_was_cleared_before_an_upgrade_is_not_undone(dag, session, monkeypatch):
    plan = clear(days(1, 3))
    monkeypatch.setattr(config, "AIRFLOW_VERSION", "3.4.0")
    before = snapshot(session)
    refused = refusal(undo, plan)
    assert preview_undo(plan, now()).problem == refused.problem
    assert diff_snapshots(before, snapshot(session)) == {}


def change_columns(monkeypatch: Any, table: str, *, add: str = "", drop: str = "") -> None:
    columns = compatibility._model_columns()
    columns[table] = [name for name in columns[table] if name != drop] + ([add] if add else [])
    monkeypatch.setattr(compatibility, "_model_columns", lambda: columns)
    compatibility.forget()


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        ("task_instance", {"add": "working_set"}, "task_instance has an unknown column working_set"),
        ("dag_run", {"drop": "clear_number"}, "dag_run has no column clear_number"),
        ("hitl_detail", {"drop": "ti_id"}, "hitl_detail has no column ti_id"),
    ],
)
def test_models_with_other_columns_are_neither_read_nor_written(
    dag, session, monkeypatch, table, change, said
):
    plan = plan_of(days(1, 3))
    change_columns(monkeypatch, table, **change)
    for act in ((plan_of, days(1, 3)), (step, plan), (plan_remaining, plan, ME, now())):
        assert said in str(refusal(*act))


def test_a_new_column_of_a_table_that_is_only_read_does_not_matter(dag, monkeypatch):
    change_columns(monkeypatch, "dag", add="colour")
    assert compatibility.find_unsupported() is None


def test_a_model_that_is_gone_is_named(monkeypatch):
    columns = compatibility._model_columns()
    del columns["task_instance_history"]
    monkeypatch.setattr(compatibility, "_model_columns", lambda: columns)
    compatibility.forget()
    assert "there is no table task_instance_history" in str(refusal(plan_of, days(1, 3)))


def test_many_differences_are_counted(monkeypatch):
    monkeypatch.setattr(compatibility, "_model_columns", dict)
    compatibility.forget()
    assert " and 12 more. " in str(refusal(plan_of, days(1, 3)))


def test_another_signature_is_refused(dag, monkeypatch):
    plan = plan_of(days(1, 3))

    def clear_task_instances(tis: Any, session: Any, whole_task_keys: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(taskinstance, "clear_task_instances", clear_task_instances)
    compatibility.forget()
    assert "clear_task_instances takes tis, session, whole_task_keys" in str(refusal(step, plan))


@pytest.mark.parametrize("ddl", [NEW_COLUMN, RENAMED_COLUMN, NO_TABLE], ids=["new", "renamed", "gone"])
def test_a_database_that_another_airflow_migrated_is_left_alone(dag, session, migrated, ddl):
    plan = plan_of(days(1, 3))
    migrated(*ddl)
    refused = refusal(step, plan)
    assert "The metadata database does not match Airflow" in str(refused)
    refusal(plan_of, days(1, 3))
    assert reread(plan, session).status == "ready"


def test_a_database_that_fits_again_is_used_again(dag, session, migrated):
    plan = plan_of(days(1, 3))
    migrated(*NEW_COLUMN)
    refusal(step, plan)
    with session.get_bind().begin() as connection:
        connection.execute(text(NEW_COLUMN[1]))
        connection.execute(text("UPDATE alembic_version SET version_num = 'again'"))
    assert step(plan).status == "applying"
    with session.get_bind().begin() as connection:
        connection.execute(text(NEW_COLUMN[0]))


def test_an_upgrade_of_airflow_stops_a_clear_at_its_next_batch(dag, session, monkeypatch):
    plan = step(plan_of(days(1, 3)))
    assert (plan.status, plan.cleared_runs) == ("applying", 1)
    begun = config.AIRFLOW_VERSION
    later = later_patch(begun)
    monkeypatch.setattr(config, "AIRFLOW_VERSION", later)
    stopped = step(plan)
    assert (stopped.status, stopped.cleared_runs) == ("stopped", 1)
    assert stopped.stop_reason.to_json() == {
        "kind": "upgraded",
        "reason": f"The clear began on Airflow {begun}; this is Airflow {later}.",
        "remedy": "Preview the rest as a new plan.",
    }


@pytest.mark.parametrize("ddl", [NEW_COLUMN, NO_TABLE], ids=["new", "gone"])
def test_a_migration_stops_a_clear_at_its_next_batch(dag, session, migrated, ddl):
    plan = step(plan_of(days(1, 3)))
    migrated(*ddl)
    stopped = step(plan)
    assert (stopped.status, stopped.cleared_runs) == ("stopped", 1)
    assert stopped.stop_reason is not None
    assert stopped.stop_reason.kind == "unsupported_airflow"
    refusal(undo, stopped)


def test_the_mirrors_of_an_airflow_that_is_not_supported_are_left_alone(session, later):
    engine = session.get_bind()
    mirror = "safe_clear_before_task_instance"
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {mirror} DROP COLUMN next_kwargs"))
        assert missing_columns(connection) == []
    with engine.begin() as connection:
        kind = {one["name"]: one["type"] for one in inspect(connection).get_columns("task_instance")}
        type_ = kind["next_kwargs"].compile(engine.dialect)
        connection.execute(text(f"ALTER TABLE {mirror} ADD COLUMN next_kwargs {type_}"))


def test_it_is_logged_once(later, caplog):
    with caplog.at_level(logging.WARNING, logger=compatibility.__name__):
        for _ in range(3):
            compatibility.find_unsupported()
    assert len(caplog.records) == 1
