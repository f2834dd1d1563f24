"""Holds what came of a clear against what its plan foresaw. A pure function: it reads no database."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.outcomes.ends import had_asked, has_come, how_it_came, was_not_decided
from tests.outcomes.facts import Facts, Planned, Row, RowKey
from tests.outcomes.shapes import DECIDERS, Example
from tests.outcomes.stuck_beside import UNFINISHED_RUN, waits_beside
from tests.outcomes.surprises import behind_surprises, below, tasks_of

GOES_ON = ("runs", "waits", "resumes")
FINISHED = ("success", "failed", "skipped", "upstream_failed", "removed")


@dataclass(frozen=True)
class Fault:
    """Something that came otherwise than foreseen; the code names its kind."""

    code: str
    where: str
    text: str


@dataclass
class Verdict:
    """The faults of an example, and what was counted."""

    faults: list[Fault] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    run_outcomes: Counter[str] = field(default_factory=Counter)
    excused: int = 0
    """Task instances and runs that follow one that ran and did not succeed, or that decided again."""
    own_life: int = 0
    """Task instances that nobody cleared, in runs that were going on anyway."""


def judge(example: Example, facts: Facts) -> Verdict:
    """Hold each task instance and each run of a DAG against its plan."""
    verdict = Verdict()
    surprised, decided = behind_surprises(example, facts), _decided(example)
    for key in sorted(facts.before.keys() | facts.after.keys() | facts.plan.keys()):
        planned = facts.plan.get(key)
        if planned is None or planned.outcome is None:
            _judge_bystander(key, facts, decided, verdict)
        else:
            verdict.outcomes[planned.outcome] += 1
            _judge_planned(key, planned, example, facts, surprised[key[0]], verdict)
            if planned.outcome == "unknown" and key[1] not in decided:
                verdict.faults.append(Fault("unknown_without_a_branch", _name(key), str(planned.reason)))
    for run_id in sorted(facts.runs_before):
        _judge_run(run_id, example, facts, surprised[run_id], verdict)
        if facts.run_plan.get(run_id) == Planned("unknown", "others_open"):
            _judge_others(run_id, facts, verdict)
    return verdict


def _decided(example: Example) -> set[str]:
    """Return the tasks behind a branch or the like."""
    shapes = (example.before, example.after)
    deciders = (task for task in tasks_of(shapes) if task.kind in DECIDERS)
    return {task_id for task in deciders for task_id in below(task.id, shapes)}


def _open_beside(run_id: str, facts: Facts) -> list[RowKey]:
    """Return the task instances of a run that had no state and are not in the plan."""
    return [
        key
        for key, row in facts.before.items()
        if key[0] == run_id and row.state is None and key not in facts.plan
    ]


def _judge_others(run_id: str, facts: Facts, verdict: Verdict) -> None:
    """Judge a run whose end is open because other task instances start in it: there must be some."""
    if not _open_beside(run_id, facts):
        verdict.faults.append(Fault("run_left_open_without_a_reason", run_id, "all of it is in the plan"))


def _judge_bystander(key: RowKey, facts: Facts, decided: set[str], verdict: Verdict) -> None:
    """Judge a task instance that is not in the plan: it must stay as it was."""
    before, after = facts.before.get(key), facts.after.get(key)
    if before == after:
        return
    run_id = key[0]
    goes_on = facts.runs_before[run_id] in UNFINISHED_RUN
    was_open = (
        before.state not in FINISHED if before else key[:2] in {k[:2] for k in _open_beside(run_id, facts)}
    )
    if goes_on and (run_id not in facts.run_plan or was_open):
        verdict.own_life += 1
        return
    whole = (*key[:2], -1)
    if before is None and key[2] == 0 and whole in facts.plan and whole not in facts.after:
        # The first map index is the row of the mapping before it was expanded.
        return
    if before is None:
        code = "unforeseen_created"
    elif after is None:
        code = "unforeseen_deleted"
    elif before.state in ("upstream_failed", "removed") and after.state == "skipped" and key[1] in decided:
        code = "unforeseen_skipped_by_a_branch"
    elif after.state == "removed":
        code = "unforeseen_removed"
    elif before.state == "removed":
        code = "unforeseen_restored"
    elif before.state is None:
        code = "unforeseen_left_open"
    else:
        code = "unforeseen_change"
    verdict.faults.append(Fault(code, _name(key), f"not in the plan; was {_say(before)}, is {_say(after)}"))


def _judge_planned(
    key: RowKey, planned: Planned, example: Example, facts: Facts, surprised: set[str], verdict: Verdict
) -> None:
    after = facts.after.get(key)
    if has_come(key, planned, facts):
        return
    if key[1] in surprised:
        verdict.excused += 1
        return
    if planned.outcome in GOES_ON and waits_beside(key, example, facts):
        verdict.faults.append(Fault("waits_for_a_run_beside", _name(key), _say(after)))
        return
    if planned.reason == "latest_only" and after is not None and was_not_decided(key, after, example, facts):
        verdict.faults.append(Fault("latest_only_never_decides", _name(key), _say(after)))
        return
    if planned.outcome == "runs" and key in facts.asked and not had_asked(key, example, facts):
        verdict.faults.append(Fault("unknown_class_asked", _name(key), "it had never asked a person"))
        return
    came = how_it_came(key, facts)
    why = f" ({planned.reason})" if planned.reason else ""
    verdict.faults.append(
        Fault(
            f"{planned.outcome}_came_{came}",
            _name(key),
            f"{planned.effect}, to be {planned.outcome}{why}; "
            f"was {_say(facts.before.get(key))}, is {_say(after)}",
        )
    )


def _judge_run(run_id: str, example: Example, facts: Facts, surprised: set[str], verdict: Verdict) -> None:
    before, after = facts.runs_before[run_id], facts.runs_after.get(run_id, "deleted")
    planned = facts.run_plan.get(run_id)
    if planned is None or planned.outcome is None:
        if before not in UNFINISHED_RUN and after != before:
            verdict.faults.append(Fault("unforeseen_run", run_id, f"was {before}, is {after}"))
        return
    others = planned.reason == "others_open"
    verdict.run_outcomes["left open by others" if others else planned.outcome] += 1
    failed = any(
        row.state == "failed" and facts.ran(key) for key, row in facts.after.items() if key[0] == run_id
    )
    fits = {
        "runs": after == "success" or (after == "failed" and failed),
        "fails": after == "failed",
        "never_starts": after == before if planned.reason == "run_not_reset" else after in UNFINISHED_RUN,
        "unknown": True,
    }[planned.outcome]
    if fits:
        return
    if surprised and (after not in UNFINISHED_RUN or _waits_for_the_past(run_id, example, facts, surprised)):
        verdict.excused += 1
        return
    if before in UNFINISHED_RUN and _open_beside(run_id, facts):
        verdict.own_life += 1
        return
    if planned.outcome == "runs" and after == "running":
        held_up = [key for key in facts.plan if key[0] == run_id and waits_beside(key, example, facts)]
        if held_up:
            verdict.faults.append(Fault("waits_for_a_run_beside", run_id, f"is {after}"))
            return
    text = f"to be {planned.outcome} ({planned.reason}); was {before}, is {after}"
    verdict.faults.append(Fault(f"run_{planned.outcome}_came_{after}", run_id, text))


def _waits_for_the_past(run_id: str, example: Example, facts: Facts, surprised: set[str]) -> bool:
    """Whether a run goes on because a task of it waits for an earlier run, which has failed in the re-run."""
    waiting = {
        task.id for task in tasks_of((example.before, example.after)) if task.waits_for_past
    } & surprised
    return facts.runs_after[run_id] == "running" and any(
        key[0] == run_id
        and key[1] in waiting
        and planned.outcome in GOES_ON
        and _is_open(facts.after.get(key))
        for key, planned in facts.plan.items()
    )


def _is_open(row: Row | None) -> bool:
    return row is not None and row.state is None


def _name(key: RowKey) -> str:
    run_id, task_id, map_index = key
    return f"{run_id} {task_id}" + (f"[{map_index}]" if map_index >= 0 else "")


def _say(row: Row | None) -> str:
    return "absent" if row is None else f"{row.state} (try {row.tries})"
