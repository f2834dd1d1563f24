"""With the speedups on or off, a clear leaves what Airflow's plain call leaves, row for row."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from sqlalchemy import select

from safe_clear_plugin.core.problems import Refused
from tests.db.acting import Clear, days
from tests.db.clear_contract import RUN_STATES, SITUATIONS, Situation, set_up
from tests.db.speedup_helpers import (
    SPEEDUPS,
    big_history,
    clear_all,
    differences,
    ids_of_run,
    leave_everything,
    leave_one,
    left_by,
    ours,
    plain,
    settled,
)
from tests.support.factories import set_states
from tests.support.options import each_in_turn, every_other
from tests.support.scenes import store_etl
from tests.support.snapshots import Snapshot, snapshot
from tests.support.statements import statements

pytestmark = [pytest.mark.backend, pytest.mark.driver, pytest.mark.airflow32]


def differs(
    expected: Snapshot, before: Snapshot, ids: list[Any], session: Any, monkeypatch: Any, **options: Any
) -> dict[str, Any]:
    """Return, by the switch, what a clear of ours leaves otherwise."""
    found = {}
    for speedups in ("True", "False"):
        monkeypatch.setenv(SPEEDUPS, speedups)
        left = settled(left_by(ours, ids, session, **options), before)
        if wrong := differences(left, expected):
            found[speedups] = wrong
    return found


@pytest.mark.parametrize(
    ("situation", "run_state"),
    each_in_turn(SITUATIONS, RUN_STATES),
    ids=lambda value: getattr(value, "name", value),
)
def test_the_same_rows_as_the_plain_call(situation: Situation, run_state: str, session, monkeypatch):
    set_up(situation, run_state, session)
    leave_everything(session)
    before = snapshot(session)
    ids = ids_of_run(session, planned=lambda row: not row.task_id.endswith(("removed", "source")))
    options = {"on_latest": bool(situation.on_latest), "reset": run_state != "queued"}
    expected = settled(left_by(plain, ids, session, **options), before)
    assert expected != settled(before, before)
    assert differs(expected, before, ids, session, monkeypatch, **options) == {}


@pytest.mark.parametrize(
    ("kind", "state"),
    every_other(
        [
            "nothing",
            "deadline",
            "question",
            "rescheduled",
            "same_try",
            "another_try",
            "try of another id",
            "without_version",
            "beside without_version",
        ],
        ["success", "failed", None, "up_for_retry"],
    ),
)
def test_the_same_rows_where_there_is_one_thing_alone(session, monkeypatch, kind, state):
    """What is not there is not looked for, and that is said of each kind by itself."""
    run = big_history(session, runs=1) and session.scalars(select(DagRun)).one()
    set_states(run, dict.fromkeys(("extract", "transform", "load"), state), session=session)
    leave_one(kind, session)
    before = snapshot(session)
    ids = ids_of_run(session, planned=lambda row: row.task_id != "load")
    options = {"on_latest": False, "reset": True}
    expected = settled(left_by(plain, ids, session, **options), before)
    assert differs(expected, before, ids, session, monkeypatch, **options) == {}


def test_the_number_of_statements_does_not_follow_the_number_of_task_instances(session):
    ids = big_history(session)
    counts = []
    for part in (ids[:6], ids):
        with statements(session) as sent:
            clear_all(part, session)
        counts.append(len(sent))
        session.rollback()
        session.expire_all()
    few, many = counts
    assert len(ids) == 36
    assert many <= few + 4


def test_a_clear_and_its_undo_come_out_alike_with_speedups_on_and_off(session, speedups):
    store_etl(session, runs=3)
    cleared = Clear(days(1, 3, task_regex="transform|load"), session)
    assert cleared.plan.cleared == 6, speedups
    cleared.undo_to_before()


def test_turned_off_nothing_of_the_speedups_is_used(session, monkeypatch):
    ids = big_history(session, runs=2)
    monkeypatch.setenv(SPEEDUPS, "False")
    with statements(session) as sent:
        clear_all(ids, session)
    assert sum("FROM task_reschedule" in statement for statement in sent) >= len(ids)
    assert not any("unnest" in statement for statement in sent)
    assert "scalar" not in vars(session)


def test_a_switch_that_cannot_be_read_refuses_the_clear(session, monkeypatch):
    ids = big_history(session, runs=1)
    monkeypatch.setenv(SPEEDUPS, "perhaps")
    with pytest.raises(Refused, match="`speedups`"):
        clear_all(ids, session)
