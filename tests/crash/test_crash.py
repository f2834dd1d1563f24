"""Killed at any step, a clear or an undo leaves every dag run whole, and can go on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import cycle, product, repeat
from uuid import UUID

import pytest

from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.services.clear.apply import stop_plan
from safe_clear_plugin.storage import scheduler_pause
from safe_clear_plugin.storage.driver.leases import LEASE
from safe_clear_plugin.storage.plans import plan_reader
from tests.crash.history import (
    ME,
    OTHER,
    PER_RUN,
    RUNS,
    as_cleared,
    audited,
    batch_sizes,
    but_for_updated_at,
    by_run,
    clear_all,
    everything,
    fresh,
    keys,
    now,
    plan_all,
    step,
    store_nightly,
    undo_all,
)
from tests.crash.killing import (
    ASK_STEPS,
    CLAIM_STEPS,
    CLEAR_STEPS,
    COMMIT,
    DRIVER_STEPS,
    UNDO_STEPS,
    Function,
    Moment,
    Point,
    run_killed_after,
    run_killed_at,
)
from tests.support.driving import set_clock_forward
from tests.support.options import chosen
from tests.support.snapshots import diff_snapshots

BATCHES = (1, 2, 3)
RANDOM_KILLS = 100 if chosen.full else 2
WITHOUT_WRITES = {
    "compare the whole plan",
    "choose its runs",
    "lock the dag runs",
    "lock the task instances",
    "count related rows",
    "lock out the scheduler",
    "read back",
}
"""A process that is killed around one of these has written what the step before has."""
BEFORE_BATCHES = 2
"""Commits before the first batch: of the claim, or the request to undo, and of the driver's lease."""


def around(steps: Mapping[str, Function], batches: Iterator[int]) -> list[Point]:
    """Return the points before and after each step, each in the next of ``batches``, or in all of them."""
    moments: tuple[Moment, ...] = ("before", "after")
    return [
        Point(moment, name, function, batch)
        for (name, function), moment in product(steps.items(), moments)
        for batch in (BATCHES if chosen.full else (next(batches),))
    ]


def around_commits(first: int, last: int) -> list[Point]:
    moments: tuple[Moment, ...] = ("before", "after")
    return [Point(moment, COMMIT, None, nth) for nth in range(first, last + 1) for moment in moments]


def clear_points() -> list[Point]:
    claim = [replace(point, nth=1) for point in around(CLAIM_STEPS, repeat(1))]
    commits = around_commits(1, BEFORE_BATCHES + len(BATCHES))
    batches = around({**DRIVER_STEPS, **CLEAR_STEPS}, cycle(BATCHES))
    return in_turn([*dict.fromkeys(claim), *batches, *commits])


def undo_points() -> list[Point]:
    ask = [replace(point, nth=1) for point in around(ASK_STEPS, repeat(1))]
    batches = around({**DRIVER_STEPS, **UNDO_STEPS}, cycle(BATCHES))
    return in_turn([*dict.fromkeys(ask), *batches, *around_commits(1, BEFORE_BATCHES + len(BATCHES))])


def in_turn(points: list[Point]) -> list[Point]:
    """Return all points with ``--full``; else every second that has something written before it.

    SQLite tries some of the others. The state before a step is the state after the last one. A step that
    commits too early shows at each later point of its batch.
    """
    if chosen.full:
        return points
    steps = [one for one in points if one.step not in {*WITHOUT_WRITES, COMMIT} and one.moment == "after"]
    # Before the first commit, after the second, and so on.
    commits = [one for one in points if one.step == COMMIT]
    taken = [one for one in commits if one.nth % 2 == (one.moment == "before")]
    if chosen.postgresql:
        return [*steps[::2], *taken]
    return [*steps[1::2], *(one for one in commits if one not in taken)][::2]


@pytest.fixture
def nightly(session, monkeypatch):
    """Five runs: a clear and an undo take two in a batch, and so three batches each."""
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", str(2 * PER_RUN))
    store_nightly(session)


@pytest.fixture
def cleared(nightly, session):
    """What an uninterrupted clear makes of each run; it is undone again."""
    before = everything(session)
    plan = clear_all(plan_all())
    assert batch_sizes(plan, "clear", session) == [2, 2, 1]
    old = by_run(before)
    found = {run: as_cleared(rows, old[run]) for run, rows in by_run(everything(session)).items()}
    assert all(found[run] != as_cleared(old[run], old[run]) for run in RUNS)
    undo_all(plan)
    assert batch_sizes(plan, "undo", session) == [2, 2, 1]
    assert diff_snapshots(but_for_updated_at(before), but_for_updated_at(everything(session))) == {}
    return found


def check_clear(plan: PlanSummary, before, cleared, session) -> set[str]:
    """Check that each run is cleared as planned or exactly as it was, and that the plan knows which."""
    plan = fresh(plan, session)
    after = everything(session)
    old, new = by_run(before), by_run(after)
    done = {run for run in RUNS if new[run] != old[run]}
    for run in done:
        assert set(as_cleared(new[run], old[run])) ^ set(cleared[run]) == set(), run
    untouched = RUNS[len(done) :]
    assert done == set(RUNS) - set(untouched)
    assert {run.run_id for run in plan_reader.runs(UUID(plan.id), session) if run.applied_at} == done
    assert (plan.cleared_runs, plan.cleared) == (len(done), PER_RUN * len(done))
    assert sum(batch_sizes(plan, "clear", session)) == len(done)
    assert audited(plan, "safe_clear", session) == keys(session, done)
    if len(done) == len(RUNS):
        assert (plan.status, plan.stop_reason) == ("applied", None)
        assert plan.finished_at is not None
    else:
        assert plan.status in (("applying",) if done else ("ready", "applying"))
    return done


def check_restored(before, session) -> None:
    found = diff_snapshots(but_for_updated_at(before), but_for_updated_at(everything(session)))
    assert found == {}


def resume_and_undo(plan: PlanSummary, before, cleared, session, *, by_somebody_else: bool) -> None:
    """Have another driver go on with a clear whose process died, then take all of it back."""
    lease_runs_out(plan, session)
    if by_somebody_else and fresh(plan, session).status == "applying":
        with pytest.raises(Refused):
            step(fresh(plan, session), OTHER)
        after = clear_all(fresh(plan, session), OTHER, resume=True)
    else:
        after = clear_all(fresh(plan, session), ME)
    assert after.status == "applied"
    assert check_clear(plan, before, cleared, session) == set(RUNS)
    undone = undo_all(after)
    assert (undone.status, undone.put_back, undone.stayed) == ("undone", PER_RUN * len(RUNS), 0)
    check_restored(before, session)


def undo_what_there_is(plan: PlanSummary, before, done: set[str], session) -> None:
    """Stop a clear whose process died, and take back what it had done; nobody has to wait for the lease."""
    stopped = stop_plan(fresh(plan, session), OTHER, now())
    assert stopped.status in ("stopped", "applied", "ready")
    if not done:
        with pytest.raises(Refused) as refused:
            undo_all(stopped)
        assert "othing was cleared" in refused.value.problem.reason
    else:
        undone = undo_all(stopped, OTHER)
        assert (undone.status, undone.put_back) == ("undone", PER_RUN * len(done))
        with pytest.raises(Refused):
            step(undone, ME, resume=True)
        assert audited(plan, "safe_clear_undo", session) == keys(session, done)
    check_restored(before, session)


def lease_runs_out(plan: PlanSummary, session) -> None:
    """Have half a minute pass in which the driver that died does nothing."""
    set_clock_forward(session, plan, LEASE.total_seconds() + 1)


def test_a_clear_killed_at_any_step(cleared, session, subtests):
    """All points are tried on one history: each ends with everything as it was before."""
    for number, point in enumerate(clear_points()):
        with subtests.test(str(point)):
            before = everything(session)
            plan = plan_all()
            session.close()
            run_killed_at(point, lambda plan=plan: clear_all(plan))
            done = check_clear(plan, before, cleared, session)
            assert len(done) == expected_runs(point)
            if number % 3 == 0:
                undo_what_there_is(plan, before, done, session)
            else:
                resume_and_undo(plan, before, cleared, session, by_somebody_else=number % 3 == 1)


def expected_runs(point: Point) -> int:
    """Return how many runs are done when a process dies at the point: those whose commit came before."""
    batches = point.nth - 1
    if point.step == COMMIT:
        batches = point.nth - BEFORE_BATCHES - (point.moment == "before")
    elif point.step == "take the step" and point.moment == "after":
        batches = point.nth
    return min(max(2 * batches, 0), len(RUNS))


def test_a_clear_killed_at_any_moment(cleared, session, subtests):
    """The step is not known here: SIGKILL comes from outside, also while a statement is under way."""
    chance = random.Random(1)
    for number in range(RANDOM_KILLS):
        with subtests.test(str(number)):
            before = everything(session)
            plan = plan_all()
            session.close()
            run_killed_after(chance.uniform(0, 0.8), lambda plan=plan: clear_all(plan))
            check_clear(plan, before, cleared, session)
            resume_and_undo(plan, before, cleared, session, by_somebody_else=bool(number % 2))


def check_undo(plan: PlanSummary, before, cleared, session) -> set[str]:
    """Check that each run is as before the clear or exactly as after it, and that the plan knows which."""
    plan = fresh(plan, session)
    old, middle = by_run(but_for_updated_at(before)), by_run(cleared)
    exact, new = by_run(everything(session)), by_run(but_for_updated_at(everything(session)))
    back = {run for run in RUNS if exact[run] != middle[run]}
    assert {run: new[run] for run in back} == {run: old[run] for run in back}
    runs = plan_reader.runs(UUID(plan.id), session)
    assert {run.run_id for run in runs if run.applied_at} == set(RUNS)
    assert (plan.undone_runs, plan.put_back, plan.stayed) == (len(back), PER_RUN * len(back), 0)
    assert plan.undo_asked_runs in ((len(RUNS),) if back else (0, len(RUNS)))
    assert sum(batch_sizes(plan, "undo", session)) == len(back)
    assert audited(plan, "safe_clear_undo", session) == keys(session, back)
    assert plan.status == ("undone" if len(back) == len(RUNS) else "applied")
    return back


def test_an_undo_killed_at_any_step(cleared, session, subtests, monkeypatch):
    # Each try of a batch is one batch: none comes before its turn.
    monkeypatch.setattr(scheduler_pause, "seconds_left", lambda _: 0.0)
    for number, point in enumerate(undo_points()):
        with subtests.test(str(point)):
            before = everything(session)
            plan = clear_all(plan_all())
            after_clear = everything(session)
            session.close()
            run_killed_at(point, lambda plan=plan: undo_all(plan))
            back = check_undo(plan, before, after_clear, session)
            assert len(back) == expected_runs(point)
            go_on_undoing(plan, before, session, OTHER if number % 2 else ME)


def go_on_undoing(plan: PlanSummary, before, session, actor) -> None:
    lease_runs_out(plan, session)
    plan = fresh(plan, session)
    if plan.status == "undone":
        with pytest.raises(Refused):
            undo_all(plan, actor)
    else:
        plan = undo_all(plan, actor)
    assert (plan.status, plan.put_back, plan.undone_runs) == ("undone", PER_RUN * len(RUNS), len(RUNS))
    assert audited(plan, "safe_clear_undo", session) == keys(session, set(RUNS))
    check_restored(before, session)


def test_an_undo_killed_at_any_moment(cleared, session, subtests):
    chance = random.Random(2)
    for number in range(RANDOM_KILLS):
        with subtests.test(str(number)):
            before = everything(session)
            plan = clear_all(plan_all())
            after_clear = everything(session)
            session.close()
            run_killed_after(chance.uniform(0, 0.4), lambda plan=plan: undo_all(plan))
            check_undo(plan, before, after_clear, session)
            go_on_undoing(plan, before, session, ME)
