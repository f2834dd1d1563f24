"""Whether a change set is interrupted: not while a driver works on a long batch."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import select

from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.services.change_sets.driving import as_driven
from safe_clear_plugin.storage.tables import plan
from tests.db.acting import now
from tests.db.change_set_acting import confirm, fake_auth_manager, reread, set_of
from tests.support.driving import set_clock_forward
from tests.support.scenes import store_etl

pytestmark = pytest.mark.backend


def test_a_set_whose_plan_a_transaction_holds_is_not_interrupted(session, monkeypatch):
    fake_auth_manager(monkeypatch)
    for dag_id in ("dag_a", "dag_b"):
        store_etl(session, dag_id, runs=1)
    made = confirm(set_of("dag_a", "dag_b"))
    first = made.plans[0]
    set_clock_forward(session, first, 120)
    session.commit()
    with new_session() as other:
        assert as_driven(reread(made), other).shown_status(now()) == "interrupted"
    if session.get_bind().dialect.name == "sqlite":
        return
    session.execute(select(plan.c.id).where(plan.c.id == UUID(first.id)).with_for_update())
    with new_session() as other:
        found = as_driven(reread(made), other)
    assert (found.is_interrupted, found.shown_status(now())) == (False, "applying")
    session.rollback()
