"""Killed at any commit, a change set leaves each DAG whole, and continues with the next one."""

from __future__ import annotations

from itertools import product

import pytest

from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.change_sets.dag_choice import DagChoice
from safe_clear_plugin.services.change_sets.make import make_change_set
from safe_clear_plugin.storage.change_sets import turns
from safe_clear_plugin.storage.driver.leases import LEASE
from tests.crash.history import (
    ME,
    audited,
    but_for_updated_at,
    by_run,
    everything,
    keys,
    now,
    store_nightly,
)
from tests.crash.killing import COMMIT, Function, Moment, Point, run_killed_at
from tests.db.change_set_acting import confirm, drive, fake_auth_manager, reread, statuses, undo
from tests.support import options
from tests.support.driving import end_pause, set_clock_forward
from tests.support.snapshots import diff_snapshots

pytestmark = pytest.mark.backend

DAGS = ("first", "second")
RUNS = ("run_1", "run_2")
TURNS: dict[str, Function] = {
    "lock the plans": (turns, "lock_all"),
    "let all but one wait": (turns, "let_wait"),
    "give the turn": (turns, "give_turn"),
    "wake the next": (turns, "go_on_with_clear"),
    "wake the one before": (turns, "go_on_with_undo"),
}


@pytest.fixture(autouse=True)
def dags(session, monkeypatch):
    """Two DAGs of two runs each; each run is a batch."""
    fake_auth_manager(monkeypatch)
    for dag_id in DAGS:
        store_nightly(session, dag_id, runs=len(RUNS))


def make() -> ChangeSet:
    selection = Selection("", run_id=RUNS)
    return make_change_set(DagChoice(dag_ids=DAGS), selection, user=ME, actor=ME, now=now())


def points(names: tuple[str, ...]) -> list[Point]:
    """Return the points to die at: around each step of the turns, and around each commit.

    The state before a commit is the state after the last one. Without ``--full``, PostgreSQL tries every
    second state and some steps that have written something. SQLite tries some states.
    """
    commits = [Point("before", COMMIT, None, 1), *(Point("after", COMMIT, None, nth) for nth in range(1, 9))]
    steps = list(product(names, (1, 2)))
    if options.chosen.full:
        moments: tuple[Moment, ...] = ("before", "after")
        return [
            *commits,
            *(Point(moment, name, TURNS[name], nth) for name, nth in steps for moment in moments),
        ]
    if options.chosen.postgresql:
        return [*commits[::2], *(Point("after", name, TURNS[name], nth) for name, nth in steps[::3])]
    return [*commits[:2], *commits[3:6:2]]


def of_dag(tables, dag_id: str):
    return by_run(
        {name: [row for row in rows if row.get("dag_id", dag_id) == dag_id] for name, rows in tables.items()}
    )


def check_whole(made: ChangeSet, before, after) -> list[str]:
    """Check that each DAG is unchanged or cleared, in their order. Return the cleared DAGs."""
    cleared = [plan.dag_id for plan in made.plans if plan.cleared_runs]
    assert cleared == list(DAGS[: len(cleared)])
    for plan in made.plans:
        old, new = of_dag(before, plan.dag_id), of_dag(after, plan.dag_id)
        changed = {run for run in RUNS if new[run] != old[run]}
        assert changed == (set(RUNS) if plan.dag_id in cleared else set()), plan.dag_id
        assert plan.cleared_runs in (0, len(RUNS))
    return cleared


def leases_run_out(made: ChangeSet, session) -> None:
    """Let half a minute pass without the dead driver."""
    end_pause()
    for plan in reread(made).plans:
        set_clock_forward(session, plan, LEASE.total_seconds() + 1)


def killed_at(point: Point, work) -> bool:
    """Whether the process reached the point, and was killed there."""
    try:
        run_killed_at(point, work)
    except AssertionError as error:
        if "status 0" not in str(error):
            raise
        return False
    return True


def test_a_set_killed_anywhere_is_cleared_whole_in_the_end(session, subtests):
    seen = set()
    for point in points(("lock the plans", "let all but one wait", "give the turn", "wake the next")):
        with subtests.test(str(point)):
            before, made = everything(session), make()
            session.close()
            was_killed = killed_at(point, lambda made=made: drive(confirm(made)))
            found = reread(made)
            cleared = check_whole(found, before, everything(session))
            seen.add((was_killed, len(cleared), tuple(statuses(found))))
            leases_run_out(made, session)
            if found.is_ready:
                confirm(found)
            done = drive(made)
            assert statuses(done) == ["applied", "applied"]
            assert check_whole(done, before, everything(session)) == list(DAGS)
            for plan in done.plans:
                assert audited(plan, "safe_clear", session) == keys(session, set(RUNS), plan.dag_id)
            undo(done)
            leases_run_out(made, session)
            assert statuses(drive(made)) == ["undone", "undone"]
            found = diff_snapshots(but_for_updated_at(before), but_for_updated_at(everything(session)))
            assert found == {}
    # Before the claim, between it and the first DAG, and between the two DAGs.
    assert {(True, 0, ("ready",) * 2), (True, 0, ("applying",) * 2)} <= seen
    assert (True, 1, ("applied", "applying")) in seen


def test_an_undo_of_a_set_killed_anywhere_is_whole_in_the_end(session, subtests):
    seen = set()
    for point in points(("lock the plans", "let all but one wait", "give the turn", "wake the one before")):
        with subtests.test(str(point)):
            before, made = everything(session), make()
            confirm(made)
            done = drive(made)
            session.close()
            was_killed = killed_at(point, lambda done=done: drive(undo(done)))
            found = reread(made)
            seen.add((was_killed, tuple(statuses(found))))
            assert statuses(found) in (["applied"] * 2, ["applied", "undone"], ["undone"] * 2)
            leases_run_out(made, session)
            if not found.is_undoing and statuses(found) == ["applied"] * 2:
                undo(found)
            assert statuses(drive(made)) == ["undone", "undone"]
            found = diff_snapshots(but_for_updated_at(before), but_for_updated_at(everything(session)))
            assert found == {}
    assert {(True, ("applied", "applied")), (True, ("applied", "undone"))} <= seen
