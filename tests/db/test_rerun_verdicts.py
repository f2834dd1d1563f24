"""What has become of the dag runs that a plan cleared."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from airflow.models.dagrun import DagRun
from sqlalchemy import delete, select, update

from safe_clear_plugin.core.outcomes import Outcome, RunOutcome
from safe_clear_plugin.core.waves import RunCounts
from safe_clear_plugin.storage.clear import reruns
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance
from tests.db.acting import clear, days, plan_of, step, undo
from tests.support.factories import make_run, set_states
from tests.support.scenes import FAILED_RUN, START, store_etl
from tests.support.statements import statements

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]

ALL_GOOD = dict.fromkeys(("extract", "transform", "load"), "success")


class Cleared:
    """A plan that was cleared, and what is made to become of its runs."""

    def __init__(self, session, what=None):
        self.session = session
        self.plan = clear(what or days(1, 3))
        self.id = UUID(self.plan.id)

    def ends(self, run_id, states, run_state=None, *, looked_at=None, **columns):
        """Put task instances of a run, and the run, into states."""
        run = self.session.scalars(select(DagRun).where(DagRun.run_id == run_id)).one()
        set_states(run, states, session=self.session, **columns)
        values = {"last_scheduling_decision": looked_at}
        if run_state:
            values["state"] = run_state
        self.session.execute(update(DagRun).where(DagRun.run_id == run_id).values(**values))
        self.session.commit()

    def foresee(self, run_id, outcome, *task_ids, reason=None):
        """Have the plan foresee an outcome for tasks of a run, or for the run."""
        table, where = plan_run, [plan_run.c.run_id == run_id]
        if task_ids:
            rows = plan_task_instance
            table, where = rows, [rows.c.run_id == run_id, rows.c.task_id.in_(task_ids)]
        foreseen = update(table).where(table.c.plan_id == self.id, *where)
        self.session.execute(foreseen.values(outcome=outcome, outcome_reason=reason))
        self.session.commit()

    def judge(self, **options):
        """Judge the runs and return what is kept of each."""
        reruns.judge(self.id, "etl", self.session, **options)
        self.session.commit()
        found = self.session.execute(
            select(plan_run.c.run_id, plan_run.c.rerun).where(plan_run.c.plan_id == self.id)
        )
        return {row.run_id: row.rerun for row in found}

    def verdict(self, run_id="run_1"):
        """Judge one run, both to keep and to show."""
        found = self.judge()[run_id]
        shown = reruns.count_now(self.id, "etl", self.session)
        assert shown == reruns.count_kept(self.id, self.session)
        return found


@pytest.fixture
def cleared(session):
    store_etl(session)
    return Cleared(session)


@pytest.mark.one_database
def test_runs_just_cleared_run_again(cleared):
    assert cleared.judge() == dict.fromkeys(("run_1", "run_2", "run_3"), "running_again")


@pytest.mark.one_database
def test_a_run_is_done_once_it_has_ended_well(cleared):
    cleared.ends("run_1", ALL_GOOD, "running")
    assert cleared.verdict() == "running_again"
    cleared.ends("run_1", ALL_GOOD, "success")
    assert cleared.verdict() == "done"


@pytest.mark.one_database
def test_a_run_with_a_failed_task_instance_is_failing_while_others_run(cleared):
    cleared.ends("run_1", {"extract": "failed", "transform": "running"}, "running")
    assert cleared.verdict() == "failing"
    cleared.ends("run_1", {"extract": "failed", "transform": "success", "load": "upstream_failed"}, "failed")
    assert cleared.verdict() == "failed"


@pytest.mark.one_database
def test_a_task_instance_that_will_be_tried_again_has_not_failed(cleared):
    cleared.ends("run_1", {"extract": "up_for_retry"}, "running")
    assert cleared.verdict() == "running_again"


@pytest.mark.one_database
def test_upstream_failed_is_a_failure_unless_it_was_foreseen(cleared):
    ended = {"extract": "success", "transform": "success", "load": "upstream_failed"}
    cleared.foresee("run_1", Outcome.UPSTREAM_FAILED, "load")
    for run_id in ("run_1", "run_2"):
        cleared.ends(run_id, ended, "success")
    found = cleared.judge()
    assert (found["run_1"], found["run_2"]) == ("done", "failed")


@pytest.mark.one_database
@pytest.mark.parametrize("reason", ["branch_or_failed", "upstream_open", "either_rule"])
def test_upstream_failed_is_no_failure_where_the_plan_has_left_it_open(cleared, reason):
    ended = {"extract": "success", "transform": "success", "load": "upstream_failed"}
    for run_id, why in (("run_1", reason), ("run_2", "branch_decides_again")):
        cleared.foresee(run_id, Outcome.UNKNOWN, "load", reason=why)
        cleared.foresee(run_id, RunOutcome.UNKNOWN, reason=why)
        cleared.ends(run_id, ended, "failed")
    found = cleared.judge()
    assert (found["run_1"], found["run_2"]) == ("done", "failed")


@pytest.mark.one_database
def test_what_a_latest_only_skips_has_not_failed_before(cleared):
    cleared.foresee("run_1", Outcome.SKIPPED, "load", reason="latest_only")
    cleared.ends("run_1", {"extract": "running", "load": "upstream_failed"}, "running")
    assert cleared.verdict() == "running_again"


@pytest.mark.one_database
def test_a_run_that_failed_has_failed_unless_it_was_foreseen(cleared):
    cleared.foresee("run_1", RunOutcome.FAILS)
    for run_id in ("run_1", "run_2"):
        cleared.ends(run_id, ALL_GOOD, "failed")
    found = cleared.judge()
    assert (found["run_1"], found["run_2"]) == ("done", "failed")


def test_a_run_that_the_clear_left_closed_is_judged_by_its_task_instances(session):
    store_etl(session)
    cleared = Cleared(session, days(1, 2, reset_dag_runs=False))
    cleared.ends("run_1", ALL_GOOD)
    cleared.foresee("run_2", RunOutcome.NEVER_STARTS)
    found = cleared.judge()
    assert (found["run_1"], found["run_2"]) == ("done", "waiting")


@pytest.mark.one_database
def test_a_run_that_was_under_way_is_done_with_its_cleared_task_instances(session):
    dag = store_etl(session, runs=0)
    run = make_run(dag, session=session, run_id="run_1", state="running", logical_date=START)
    set_states(run, {"extract": "failed", "transform": None, "load": None}, session=session)
    cleared = Cleared(session, days(1, 1, task_regex="^extract$"))
    cleared.ends("run_1", {"extract": "success", "transform": "running"})
    assert cleared.verdict() == "done"


def test_a_run_whose_rest_waits_for_a_person_waits(cleared):
    at = datetime.now(timezone.utc)
    cleared.foresee("run_1", Outcome.WAITS, "transform")
    cleared.ends("run_1", {"extract": "running"}, "running", looked_at=at)
    assert cleared.verdict() == "running_again"
    ended = {"extract": "success", "transform": "deferred"}
    cleared.ends("run_1", ended, "running", looked_at=at, end_date=at + timedelta(seconds=30))
    assert cleared.verdict() == "running_again", "the scheduler has not looked since extract ended"
    cleared.ends("run_1", {}, "running", looked_at=at + timedelta(minutes=1))
    assert cleared.verdict() == "waiting"
    cleared.ends("run_1", {"transform": "success", "load": "running"}, looked_at=at)
    assert cleared.verdict() == "running_again"


@pytest.mark.one_database
def test_a_run_that_is_foreseen_never_to_start_waits_until_it_starts_all_the_same(cleared):
    cleared.foresee("run_1", RunOutcome.NEVER_STARTS)
    assert cleared.verdict() == "waiting"
    cleared.ends("run_1", {"extract": "running"}, "running")
    assert cleared.verdict() == "running_again"


def test_a_run_that_failed_and_whose_rest_never_starts_holds_up_nothing(cleared):
    at = datetime.now(timezone.utc) + timedelta(minutes=1)
    cleared.foresee("run_1", Outcome.NEVER_STARTS, "load")
    cleared.ends("run_1", {"extract": "success", "transform": "failed"}, "running", looked_at=at)
    assert cleared.verdict() == "failed"


@pytest.mark.one_database
def test_a_run_that_was_deleted_waits(cleared, session):
    session.execute(delete(DagRun).where(DagRun.run_id == "run_1"))
    session.commit()
    assert cleared.verdict() == "waiting"


@pytest.mark.one_database
def test_runs_that_are_done_or_failed_are_not_judged_again(cleared):
    cleared.ends("run_1", ALL_GOOD, "success")
    cleared.ends("run_2", FAILED_RUN, "failed")
    before = cleared.judge()
    assert (before["run_1"], before["run_2"]) == ("done", "failed")
    for run_id in ("run_1", "run_2"):
        cleared.ends(run_id, {"load": "running"}, "running")
    assert cleared.judge() == before


@pytest.mark.one_database
def test_a_failed_run_is_judged_again_for_a_person(cleared):
    cleared.ends("run_1", FAILED_RUN, "failed")
    assert cleared.judge()["run_1"] == "failed"
    cleared.ends("run_1", ALL_GOOD, "success")
    assert cleared.judge(reopen=True)["run_1"] == "done"


def test_failures_that_are_skipped_are_counted_apart(cleared, session):
    cleared.ends("run_1", FAILED_RUN, "failed")
    cleared.ends("run_2", FAILED_RUN, "running")
    assert cleared.judge() == {"run_1": "failed", "run_2": "failing", "run_3": "running_again"}
    reruns.skip_failures(cleared.id, session)
    expected = RunCounts(running_again=1, failing=1, failed=1, skipped=2)
    assert reruns.count_kept(cleared.id, session) == expected
    assert reruns.count_now(cleared.id, "etl", session) == expected
    cleared.ends("run_2", {}, "failed")
    cleared.judge()
    assert reruns.count_kept(cleared.id, session) == RunCounts(running_again=1, failed=2, skipped=2)


def test_failed_runs_are_named_with_their_tasks(cleared, session):
    cleared.ends("run_2", FAILED_RUN, "failed")
    (found,) = reruns.failed_runs(cleared.id, "etl", session, limit=5, tasks=5)
    assert (found.run_id, found.date, found.task_ids) == ("run_2", START.replace(day=2), ("transform",))


@pytest.mark.one_database
def test_untouched_and_undone_runs_are_counted_as_such(session, monkeypatch):
    store_etl(session)
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "1")
    plan = step(plan_of(days(1, 3)))
    assert reruns.count_now(UUID(plan.id), "etl", session) == RunCounts(untouched=2, running_again=1)
    while plan.status == "applying":
        plan = step(plan)
    undo(plan, "run_1")
    assert reruns.count_now(UUID(plan.id), "etl", session) == RunCounts(running_again=2, undone=1)


@pytest.mark.one_database
def test_a_look_is_one_statement(cleared, session):
    with statements(session) as sent:
        reruns.judge(cleared.id, "etl", session)
    assert len(sent) == 1
