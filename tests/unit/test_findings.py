"""The rules of the findings: plain facts in, findings out."""

from __future__ import annotations

import json

import pytest

from safe_clear_plugin.core.finding import Affected, Finding, Link
from safe_clear_plugin.findings import (
    callbacks,
    capacity,
    concurrent_plans,
    cost,
    deadline_alerts,
    deadlines,
    decisions,
    dependencies,
    limits,
    never_starts,
    outcomes,
    pools,
    registry,
    reruns,
    running,
    scheduler_changes,
    scheduler_order,
    scheduling,
    setups,
    side_effects,
    stopped_runs,
    stored_state,
    stuck_runs,
    stuck_tasks,
    triggered_runs,
    versions,
)

WITHOUT_FINDINGS = {
    "limits": limits.LimitFacts(),
    "dependencies": dependencies.DependencyFacts(),
    "outcomes": outcomes.OutcomeFacts(),
    "decisions": decisions.DecisionFacts(),
    "stored_state": stored_state.StoredStateFacts(),
    "never_starts": never_starts.NeverStartsFacts(),
    "stopped_runs": stopped_runs.StoppedRunFacts(),
    "stuck_runs": stuck_runs.StuckRunFacts(),
    "stuck_tasks": stuck_tasks.StuckTaskFacts(),
    "reruns": reruns.RerunFacts(),
    "concurrent_plans": concurrent_plans.ConcurrentPlanFacts(),
    "running": running.RunningFacts(),
    "scheduling": scheduling.SchedulingFacts("etl"),
    "pools": (),
    "capacity": capacity.CapacityFacts("etl"),
    "side_effects": side_effects.SideEffectFacts(),
    "cost": cost.CostFacts(),
    "versions": versions.VersionFacts(latest_version=3),
    "deadlines": deadlines.DeadlineFacts(),
    "callbacks": callbacks.CallbackFacts(),
    "deadline_alerts": deadline_alerts.DeadlineAlertFacts(),
    "scheduler_order": scheduler_order.SchedulerOrderFacts(),
    "triggered_runs": triggered_runs.TriggeredRunFacts(),
    "setups": setups.SetupFacts(),
    "scheduler_changes": scheduler_changes.SchedulerChangeFacts(),
}


def test_facts_without_anything_to_report_give_no_findings():
    assert {one.name for one in registry.AREAS} == WITHOUT_FINDINGS.keys()
    assert list(registry.run_checks(WITHOUT_FINDINGS)) == []


@pytest.mark.parametrize(
    ("facts", "code", "count"),
    [
        ({"running": running.RunningFacts(terminated=2)}, "running_terminated", 2),
        ({"running": running.RunningFacts(left_out=1)}, "running_left_out", 1),
        ({"running": running.RunningFacts(pending=4)}, "pending_cleared", 4),
        ({"running": running.RunningFacts(not_undoable=3)}, "not_undoable", 3),
        (
            {"scheduling": scheduling.SchedulingFacts("etl", dag_is_paused=True, runs_to_queue=5)},
            "dag_paused",
            5,
        ),
        (
            {"scheduling": scheduling.SchedulingFacts("etl", dag_is_stale=True, runs_to_queue=5)},
            "dag_stale",
            5,
        ),
        ({"versions": versions.VersionFacts(created=2, removed=1)}, "moves_to_latest", 3),
        ({"versions": versions.VersionFacts(unexpanded=1)}, "unexpanded_relatives", 1),
        (
            {"pools": (pools.PoolUse("small", exists=True, total=8, open=2, wanted=6, blocked=0),)},
            "pool_tight",
            1,
        ),
    ],
)
def test_each_finding_has_its_cause(facts, code, count):
    [finding] = registry.run_checks(facts)
    assert (finding.code, finding.count) == (code, count)
    assert finding.title
    assert finding.detail


def test_the_move_to_the_latest_version_names_its_changes():
    finding = versions.moves_to_latest(versions.VersionFacts(created=2, removed=1, latest_version=3))
    assert (
        finding.title == "3 more task instances will change with the Dag version: 2 created, 1 marked Removed"
    )
    assert "version 3" in finding.detail


def test_succeeded_task_instances_are_counted_among_the_others():
    cleared = Affected(3, 1, (), (("success", 2), ("upstream_failed", 1)))
    finding = reruns.success_redone(reruns.RerunFacts(cleared=cleared))
    assert finding.title == "2 of 3 already succeeded and will run again"
    assert finding.detail.endswith("The others: 1 Upstream Failed.")
    assert finding.level == "warn"


def test_setups_and_teardowns_that_succeeded_are_not_done_again():
    cleared = Affected(4, 1, (), (("success", 3), ("failed", 1)))
    finding = reruns.success_redone(reruns.RerunFacts(cleared=cleared, helpers=1))
    assert (finding.count, finding.title) == (2, "2 of 4 already succeeded and will run again")
    assert finding.detail.endswith("The others: 1 Failed, 1 setup or teardown.")
    assert reruns.success_redone(reruns.RerunFacts(cleared=cleared, helpers=3)) is None


def test_waiting_runs_name_the_limit():
    slots = capacity.ConcurrencySlots(limit=4, to_queue=9, active=0)
    finding = capacity.runs_wait(capacity.CapacityFacts("etl", (slots,)))
    assert finding.title == "5 of 9 runs will wait: max_active_runs is 4"


def test_failed_upstream_tasks_are_named_with_their_state():
    facts = outcomes.OutcomeFacts(
        failed=Affected(9, 3, ("load", "report")),
        failed_by=Affected(3, 3, ("transform",), (("upstream_failed", 3),)),
    )
    finding = outcomes.upstream_failed(facts)
    assert finding.title == (
        "9 cleared task instances will fail immediately: their upstream `transform` is Upstream Failed in 3 "
        "runs and is not in this plan"
    )
    assert finding.widen == ("include_upstream",)


def test_a_finding_survives_being_stored():
    finding = Finding(
        "x",
        "warn",
        "t",
        "d",
        2,
        widen=("include_downstream",),
        filter={"task": "a"},
        links=(Link("dag", "b"),),
    )
    assert Finding.from_json(json.loads(json.dumps(finding.to_json()))) == finding
