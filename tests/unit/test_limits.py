"""What a plan asks of whoever confirms it, what refuses it, and the sentence that says what it does."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from safe_clear_plugin.core.confirmation import (
    Confirmation,
    describe_missing,
    requirements,
    unmet_requirements,
)
from safe_clear_plugin.core.confirmation_summary import PlanExtent, summarize
from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.limits import Limits
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.plan_records import TouchedTask
from safe_clear_plugin.core.planned_rows import PlannedRun, StateChange
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.findings.limits import LimitFacts, protected, protected_unreadable, too_many
from safe_clear_plugin.findings.protected_tasks import (
    Pattern,
    Protection,
    Unreadable,
    match_protected,
    read_pattern,
)

NOW = datetime(2026, 11, 4, 3, 12, tzinfo=timezone.utc)
AUTHOR, OTHER = "1", "2"
TICK = Finding("stale_downstream", "acknowledge", "126 go stale", "They do.", 126)
REFUSE = Finding("deadline", "refuse", "Airflow cannot clear this", "It raises.", 1, "Remove the deadline.")


def plan(**fields):
    return PlanSummary(
        **{
            "id": "0" * 32,
            "status": "ready",
            "dag_id": "sales_etl",
            "selection": Selection("sales_etl"),
            "run_on_latest_version": False,
            "dag_versions": (),
            "fingerprint": "f" * 64,
            "created_by": AUTHOR,
            "created_by_name": "ada",
            "created_at": NOW,
            "expires_at": NOW + timedelta(minutes=30),
            "task_instances": 312,
            "dag_runs": 78,
            **fields,
        }
    )


def lacks(limits, given=None, actor_id=AUTHOR, refused=(), **fields):
    found = plan(**fields)
    return [
        (one.what, one.limit, one.value, one.config_source)
        for one in unmet_requirements(
            found, requirements(found, limits, refused), given or Confirmation(), actor_id
        )
    ]


@pytest.mark.parametrize(
    ("limit", "asks"), [(0, False), (-1, False), (311, True), (312, False), (313, False)]
)
def test_the_dag_id_is_typed_above_a_limit(limit, asks):
    expected = [("confirm_dag_id", "confirm_above", limit, f"[safe_clear] confirm_above = {limit}")]
    assert lacks(Limits(confirm_above=limit)) == (expected if asks else [])
    assert lacks(Limits(confirm_above=limit), Confirmation(confirm_dag_id="sales_etl")) == []


def test_another_dag_id_is_never_taken():
    for limit in (0, 200):
        for typed in ("sales_etl2", "SALES_ETL", "sales etl"):
            [found] = lacks(Limits(confirm_above=limit), Confirmation(confirm_dag_id=typed))
            assert found[:2] == ("confirm_dag_id", "confirm_above")


def test_a_reason_is_asked_for():
    required = Limits(require_reason=True)
    set_in = "[safe_clear] require_reason = True"
    assert lacks(required) == [("reason", "require_reason", True, set_in)]
    assert lacks(required, Confirmation(reason="bad rates")) == []
    assert lacks(Limits()) == []


def test_nobody_confirms_with_a_reason_of_another_except_to_approve_it():
    asked = {"actor_id": OTHER, "reason": "asked with one", "approval_asked_at": NOW}
    assert [what for what, *_ in lacks(Limits(require_reason=True), **asked)] == ["reason"]
    assert lacks(Limits(require_reason=True, approve_above=1), **asked) == []


def test_what_is_to_be_ticked():
    other = Finding("running_terminated", "acknowledge", "292 are terminated", "They are.", 292)
    warn = Finding("dag_paused", "warn", "It is paused", "Nothing starts.", 78)
    findings = {"findings": (TICK, warn, other)}
    codes = [("acknowledge", None, code, None) for code in ("stale_downstream", "running_terminated")]
    assert lacks(Limits(), **findings) == codes
    assert (
        lacks(Limits(), Confirmation(acknowledge=("running_terminated", "dag_paused", "x")), **findings)
        == codes[:1]
    )
    assert (
        lacks(Limits(), Confirmation(acknowledge=("running_terminated", "stale_downstream")), **findings)
        == []
    )


@pytest.mark.parametrize(("limit", "asks"), [(0, False), (311, True), (312, False)])
def test_a_second_person_above_a_limit(limit, asks):
    expected = [("approval", "approve_above", limit, f"[safe_clear] approve_above = {limit}")] if asks else []
    limits = Limits(approve_above=limit)
    assert lacks(limits) == expected
    assert lacks(limits, approval_asked_at=NOW) == expected
    assert lacks(limits, actor_id=OTHER) == expected
    assert lacks(limits, actor_id=OTHER, approval_asked_at=NOW) == []


def test_only_its_author_is_forbidden():
    limits = Limits(approve_above=1)
    for actor_id, forbidden in ((AUTHOR, True), (OTHER, False)):
        found = plan()
        [one] = unmet_requirements(found, requirements(found, limits, ()), Confirmation(), actor_id)
        assert one.forbidden is forbidden


def test_what_refused_it_then_or_refuses_it_now():
    now = too_many(LimitFacts(312, 300))
    limits = Limits(max_task_instances=300)
    everything = Confirmation("why", "sales_etl", ("stale_downstream",))
    at_300 = ("too_many", "max_task_instances", 300, "[safe_clear] max_task_instances = 300")
    assert lacks(limits, everything, refused=[now]) == [at_300]
    assert lacks(limits, everything, refused=[now], findings=(now,)) == [at_300]
    assert lacks(limits, everything, refused=[now], findings=(REFUSE,)) == [
        at_300,
        ("deadline", None, None, None),
    ]
    lifted = ("too_many", "max_task_instances", 0, "[safe_clear] max_task_instances = 0")
    assert lacks(Limits(), everything, findings=(now,)) == [lifted]


def test_several_things_are_said_at_once():
    found = plan(findings=(TICK,))
    limits = Limits(confirm_above=200, require_reason=True)
    lacking = list(unmet_requirements(found, requirements(found, limits, ()), Confirmation(), AUTHOR))
    said = str(describe_missing(lacking))
    for part in ("3 requirements", "126 go stale", "confirm_above = 200", "require_reason = True"):
        assert part in said
    assert "confirm_above = 200" in str(describe_missing(lacking[-1:]))


@pytest.mark.parametrize(("limit", "refuses"), [(0, False), (-5, False), (9, True), (10, False), (11, False)])
def test_too_many(limit, refuses):
    finding = too_many(LimitFacts(task_instances=10, max_task_instances=limit))
    assert (finding is not None) is refuses
    if finding:
        assert (finding.level, finding.count) == ("refuse", 10)
        assert f"max_task_instances = {limit}" in finding.detail


def test_protected_tasks_are_counted_once():
    both = (
        Protection("a:x", (("load", 3), ("extract", 2))),
        Protection("a:load", (("load", 3),)),
    )
    finding = protected(LimitFacts(protections=both))
    assert finding
    assert (finding.level, finding.count) == ("refuse", 5)
    assert finding.title == "`load` and `extract` are protected"
    assert "`a:x`" in finding.detail
    assert "`a:load`" in finding.detail
    one = protected(LimitFacts(protections=both[1:]))
    assert one
    assert (one.title, one.filter) == ("`load` is protected", {"task": "load"})
    assert protected(LimitFacts()) is None


def test_a_pattern_that_cannot_be_read_refuses_everything():
    finding = protected_unreadable(LimitFacts(task_instances=4, unreadable=(2,)))
    assert finding
    assert (finding.level, finding.count) == ("refuse", 4)
    assert "number 2 of `[safe_clear] protected`" in finding.detail
    assert protected_unreadable(LimitFacts(task_instances=4)) is None


TASKS = [TouchedTask("load.eu", 3, 3, 3), TouchedTask("preload", 2, 2, 0), TouchedTask("report", 1, 1, 1)]


@pytest.mark.parametrize(
    ("pattern", "dag_id", "found"),
    [
        ("sales_etl:load", "sales_etl", ["load.eu", "preload"]),
        ("sales_etl:^load", "sales_etl", ["load.eu"]),
        ("sales:load", "sales_etl", []),
        ("sales.*:load", "sales_etl", ["load.eu", "preload"]),
        (".*:", "sales_etl", ["load.eu", "preload", "report"]),
        ("sales_etl:", "other", []),
        ("sales_etl:load:eu", "sales_etl", []),
        ("sales_etl:load|report", "sales_etl", ["load.eu", "preload", "report"]),
        ("a|sales_etl:^report$", "sales_etl", ["report"]),
    ],
)
def test_what_a_pattern_protects(pattern, dag_id, found):
    compiled = read_pattern(pattern)
    assert isinstance(compiled, Pattern)
    tasks = [task for one in match_protected([compiled], dag_id, TASKS) for task, _ in one.tasks]
    assert tasks == found


@pytest.mark.parametrize(
    "text", ["sales_etl", ":load", "", "sales_etl:(", "(:load", "(?:a|b):load", "a:(?=b)"]
)
def test_what_is_no_pattern(text):
    assert read_pattern(text) == Unreadable(text)


def run(day, hour=0, **fields):
    moment = datetime(2026, 11, day, hour, tzinfo=timezone.utc)
    return PlannedRun(f"run_{day}", moment, moment, "scheduled", "success", "queued", 4, **fields)


def test_object_scope_and_consequence_in_one_sentence():
    extent = PlanExtent(
        changes=[
            StateChange("success", None, Effect("clear"), 312),
            StateChange("running", "running", Effect("leave_out"), 3),
            StateChange(None, None, Effect("create"), 2),
        ],
        run_changes=[
            StateChange("success", "queued", Effect("clear"), 63),
            StateChange("failed", "queued", Effect("clear"), 12),
            StateChange("running", "running", Effect("clear"), 3),
        ],
        first=run(1),
        last=run(3, 23),
    )
    assert summarize(plan(), extent, 4).sentence_for("sales_etl") == (
        "Clear 312 task instances of 4 tasks in 78 runs of sales_etl, "
        "Sun 2026-11-01 00:00 to Tue 2026-11-03 23:00 UTC; 3 running task instances left out; "
        "2 created with the Dag version; 75 runs will be Queued, 3 stay Running"
    )


def test_the_sentence_of_one_run():
    extent = PlanExtent(
        [StateChange("running", "restarting", Effect("terminate"), 1)],
        [StateChange("failed", "queued", Effect("clear"), 1)],
        run(1),
        run(1),
    )
    assert summarize(plan(task_instances=1, dag_runs=1), extent, 1).sentence_for("etl") == (
        "Clear 1 task instance of 1 task in 1 run of etl, Sun 2026-11-01 00:00 UTC; "
        "1 running task instance will be terminated; 1 run will be Queued"
    )


def test_the_sentence_of_runs_that_keep_their_state():
    extent = PlanExtent([], [StateChange("failed", "failed", Effect("clear"), 78)], run(1), run(3))
    assert summarize(plan(), extent, 2).then == ("78 runs stay Failed",)
