"""How many statements a preview sends: more than these make it slow where the database is far away."""

from __future__ import annotations

import pytest

from safe_clear_plugin.core.selection import Selection
from tests.db.acting import plan_of
from tests.db.finding_scenes import chain, store_with_runs
from tests.support.scenes import START
from tests.support.statements import statements

pytestmark = pytest.mark.backend

PACING = ("SET LOCAL", "ANALYZE", "SELECT changes()", "current_setting")
"""Statements that only one kind of database gets."""


@pytest.mark.parametrize(
    ("selection", "most"),
    [
        pytest.param({}, 56, id="whole runs"),
        pytest.param({"task_regex": "^c$"}, 68, id="a task in the middle"),
        pytest.param({"task_regex": "^c$", "include_downstream": True}, 62, id="with what is downstream"),
    ],
)
def test_a_preview_of_a_plain_dag(session, selection, most):
    states = dict.fromkeys("abde", "success") | {"c": "failed"}
    store_with_runs(chain("etl", *"abcde"), session, states, runs=3)
    wanted = Selection("etl", date_from=START, **selection)
    plan_of(wanted)
    with statements(session) as sent:
        plan_of(wanted)
    counted = [statement for statement in sent if not any(words in statement for words in PACING)]
    # PostgreSQL is also asked for the planner's options and for its statistics.
    assert len(counted) <= most + (8 if session.get_bind().dialect.name == "postgresql" else 0)
    # A savepoint begins only after an area has written.
    assert sum(statement.startswith("SAVEPOINT") for statement in counted) <= 4
