"""A role that lacks a right on Safe Clear's tables, or the right to make them, is told so."""

from __future__ import annotations

import pytest
from airflow import settings
from sqlalchemy import inspect, text
from sqlalchemy.exc import ProgrammingError

from safe_clear_plugin.services import failures
from safe_clear_plugin.storage import table_setup
from tests.db.acting import days, plan_of
from tests.db.test_table_setup import drop_all
from tests.support.roles import acting_as
from tests.support.scenes import store_etl
from tests.support.statements import statements

pytestmark = [pytest.mark.backend, pytest.mark.driver]

ROLE = "reads_airflow"


@pytest.fixture(autouse=True)
def role(session, backend):
    """A role that has Airflow's tables, and none of Safe Clear's."""
    if backend.name != "postgresql":
        pytest.skip("SQLite has no roles")
    names = [name for name in inspect(session.connection()).get_table_names() if "safe_clear" not in name]
    for statement in (
        f"CREATE ROLE {ROLE}",
        f"GRANT USAGE ON SCHEMA public TO {ROLE}",
        *(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {ROLE}" for name in names),
    ):
        session.execute(text(statement))
    session.commit()
    yield
    session.rollback()
    for statement in (f"DROP OWNED BY {ROLE}", f"DROP ROLE {ROLE}"):
        session.execute(text(statement))
    session.commit()


def test_a_preview_without_rights_on_the_tables_names_them_as_the_cause(session):
    store_etl(session)
    with acting_as(ROLE), pytest.raises(ProgrammingError) as raised:
        plan_of(days(1, 2))
    failure = failures.explain(raised.value, "a preview")
    assert failure.code == "database_forbidden"
    assert "grant" in failure.remedy
    assert ROLE not in failure.reason + failure.remedy


def test_making_tables_without_the_right_to_is_tried_once(session):
    session.close()
    drop_all(settings.engine)
    try:
        with acting_as(ROLE), statements(session) as sent, pytest.raises(ProgrammingError) as raised:
            table_setup.set_up_tables()
    finally:
        table_setup.set_up_tables()
    assert failures.explain(raised.value, "the tables").code == "database_forbidden"
    assert sum(one.lstrip().startswith("CREATE TABLE") for one in sent) == 1
