"""How a task instance came to its end, against what its plan foresaw. Pure functions on facts."""

from __future__ import annotations

from collections.abc import Collection

from tests.outcomes.facts import NOT_YET_RUN, Facts, Planned, Row, RowKey
from tests.outcomes.shapes import ASKING, Example

ENDS_WITHOUT_RUNNING = ("skipped", "upstream_failed", "removed")


def was_not_decided(key: RowKey, after: Row, example: Example, facts: Facts) -> bool:
    """Whether a task instance still waits for a ``LatestOnlyOperator``, or failed as that has not run."""
    if after.state in NOT_YET_RUN:
        return True
    above = {
        shape.by_name[name]
        for shape in (example.before, example.after)
        if key[1] in shape.by_id
        for name in shape.parents(shape.by_id[key[1]].name)
    }
    return after.state == "upstream_failed" and not any(
        task.kind == "latest" and facts.ran((key[0], task.id, -1)) for task in above
    )


def has_come(key: RowKey, planned: Planned, facts: Facts) -> bool:
    """Whether a task instance ended as foreseen."""
    after, ran = facts.after.get(key), facts.ran(key)
    asked, resumed = _in_any_index(key, facts.asked), _in_any_index(key, facts.resumed)
    if planned.outcome == "runs":
        ended = {"trigger_fails": "failed", "trigger_skips": "skipped"}.get(str(planned.reason))
        as_foreseen = ended is None or (after is not None and after.state == ended)
        return (ran or _expanded(key, facts)) and as_foreseen and not asked and not resumed
    if planned.outcome == "resumes":
        return ran and resumed
    if planned.outcome == "waits":
        return (ran or _expanded(key, facts)) and asked
    if planned.outcome in ENDS_WITHOUT_RUNNING:
        return not ran and after is not None and after.state == planned.outcome
    if planned.outcome == "unknown":
        return _is_one_of_the_ends(key, planned, facts)
    return after is None or (not ran and after.state in NOT_YET_RUN)


def _in_any_index(key: RowKey, found: Collection[RowKey]) -> bool:
    """Whether a task instance is among others, or what it was expanded into is."""
    return key in found or (key[2] == -1 and any(other[:2] == key[:2] for other in found))


def had_asked(key: RowKey, example: Example, facts: Facts) -> bool:
    """Whether a plan can know that a task asks: by its class, or by a cleared run in which it has asked."""
    for run in example.runs:
        if any((run.id, *asked) in facts.plan and asked[0] == key[1] for asked in run.asked):
            return True
    tasks = [shape.by_id[key[1]] for shape in (example.before, example.after) if key[1] in shape.by_id]
    return any(task.kind in ASKING and task.kind != "inquires" for task in tasks)


def how_it_came(key: RowKey, facts: Facts) -> str:
    """Return what became of a task instance, as a fault's code names it."""
    after = facts.after.get(key)
    if facts.ran(key):
        more = [word for word, keys in (("asked", facts.asked), ("resumed", facts.resumed)) if key in keys]
        return "_".join(("ran", *more))
    return "gone" if after is None else str(after.state).lower()


def _is_one_of_the_ends(key: RowKey, planned: Planned, facts: Facts) -> bool:
    """Whether it ended in one of the ways that the reason leaves open; without a reason nothing is."""
    after, ran = facts.after.get(key), facts.ran(key) or _expanded(key, facts)
    if planned.reason == "branch_decides_again" and _was_not_expanded(key, planned, facts):
        return True
    state = after.state if after and not ran else None
    if planned.reason in ("either_rule", "branch_or_failed"):
        return state in ("skipped", "upstream_failed")
    if planned.reason == "upstream_open":
        return ran or state in ("skipped", "upstream_failed")
    if planned.reason == "branch_or_never":
        return not ran and (after is None or state in ("skipped", *NOT_YET_RUN))
    return planned.reason == "branch_decides_again" and (ran or state == "skipped")


def _was_not_expanded(key: RowKey, planned: Planned, facts: Facts) -> bool:
    """Whether it is a map index that is not there, as its task, which has others, has not started."""
    others = [other for other in facts.before if other[:2] == key[:2]]
    to_be_added = planned.effect == "scheduler_creates" and key[2] >= 0 and key not in facts.after
    return to_be_added and bool(others) and not any(map(facts.ran, others))


def _expanded(key: RowKey, facts: Facts) -> bool:
    """Whether it was an unexpanded mapped task whose map indexes have all run."""
    run_id, task_id, map_index = key
    parts = [other for other in facts.after if other[:2] == (run_id, task_id) and other[2] >= 0]
    return map_index == -1 and key not in facts.after and bool(parts) and all(map(facts.ran, parts))
