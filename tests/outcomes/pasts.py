"""Draws what became of the runs before: mostly what would have, sometimes what a person made of it."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from tests.outcomes.shapes import ASKING, DECIDERS, Key, Run, Shape, State, Task

FAILED = ("failed", "upstream_failed")
FINISHED = ("success", "failed", "skipped", "upstream_failed", "removed")
SKIPS = ("short", "approval")
"""Deciders that name what they skip, not what they follow."""
NEGATIVE = {"none_failed", "none_failed_min_one_success", "all_success", "none_skipped"}


def draw_runs(before: Shape, after: Shape, random: Random) -> tuple[tuple[Run, ...], list[str]]:
    """Draw one to three runs, and say what is not plain about them."""
    features: list[str] = []
    # A schedule is for the sake of what lets the latest run pass, which lets all that are manual pass.
    kind = (
        random.choice(("scheduled", "scheduled", "manual"))
        if dict(before.options).get("schedule")
        else "manual"
    )
    number = random.choice((1, 1, 2, 2, 3))
    return tuple(_run(before, after, day, kind, random, features) for day in range(1, number + 1)), features


def _run(before: Shape, after: Shape, day: int, kind: str, random: Random, features: list[str]) -> Run:
    on_new = before != after and random.random() < 0.08
    shape = after if on_new else before
    decisions = {task.name: _decision(shape, task, random) for task in shape.tasks if task.kind in DECIDERS}
    states: dict[Key, State] = {}
    for task in shape.in_order:
        result = _foreseen(shape, task, states, decisions, random)
        for index in range(shape.length(task) or 0) or (-1,):
            states[task.id, index] = result
    asked, jobs = _asked(shape, states, random), _jobs(shape, states, random)
    state = _state_of_run(shape, states)
    if random.random() < 0.3:
        change = random.choice((_lose, _lose, _disturb, _disturb, _disturb, _leave_open))
        if done := change(states, random):
            features.append(done)
    elif random.random() < 0.12:
        state = random.choice(("queued", "running"))
        features.append(f"{state} run")
        _unfinish(shape, states, state, random)
    return Run(
        day,
        state,
        kind,
        tuple(sorted(states.items())),
        tuple(
            (shape.by_name[name].id, ids)
            for name, ids in decisions.items()
            if states.get((shape.by_name[name].id, -1)) == "success"
        ),
        tuple(key for key in asked if states.get(key) is not None),
        jobs,
        on_new,
    )


def _asked(shape: Shape, states: Mapping[Key, State], random: Random) -> list[Key]:
    """Return which task instances have asked a person: those that succeeded, and some that did not."""
    return [
        key
        for key, state in states.items()
        if shape.by_id[key[0]].kind in ASKING
        and (state == "success" or (state == "failed" and random.random() < 0.7))
    ]


def _jobs(shape: Shape, states: Mapping[Key, State], random: Random) -> tuple[tuple[Key, str], ...]:
    """Draw the jobs that are stored; another Airflow, or a person, may have deleted some."""
    return tuple(
        (key, random.choice(("active", "done", "done", "failed")) + "_old")
        for key, state in states.items()
        if shape.by_id[key[0]].kind == "job" and state in ("success", "failed") and random.random() < 0.8
    )


def _decision(shape: Shape, task: Task, random: Random) -> tuple[str, ...]:
    """Return the task ids that a short circuit or an approval skipped, or those that another followed."""
    children = sorted(shape.children(task.name))
    if task.kind == "branch":
        followed, _ = shape.decided(task, random.sample(children, random.randint(0, len(children))))
    elif random.random() < 0.5:
        return ()
    elif task.kind == "short":
        return tuple(sorted(shape.below(task.name)))
    else:
        followed = set(children)
    return tuple(sorted(shape.by_name[name].id for name in followed))


def _skips(task: Task, decision: tuple[str, ...], task_id: str) -> bool:
    return (task_id in decision) == (task.kind in SKIPS)


def _foreseen(
    shape: Shape,
    task: Task,
    states: Mapping[Key, State],
    decisions: Mapping[str, tuple[str, ...]],
    random: Random,
) -> str:
    """Return about what would have become of a task; the history need not be exact."""
    parents = [shape.by_name[name] for name in shape.parents(task.name)]
    for parent in parents:
        ended = states.get((parent.id, -1)) == "success"
        if ended and parent.name in decisions and _skips(parent, decisions[parent.name], task.id):
            return "skipped"
    above = [state for (task_id, _), state in states.items() if task_id in {p.id for p in parents}]
    if task.kind == "teardown":
        return "success"
    if task.rule in NEGATIVE and any(state in FAILED for state in above):
        return "upstream_failed"
    if task.rule == "all_success" and "skipped" in above:
        return "skipped"
    if task.rule in ("one_failed", "all_failed", "all_skipped") and not any(s in FAILED for s in above):
        return "skipped"
    return random.choices(("success", "failed", "skipped"), (80, 14, 6))[0]


def _state_of_run(shape: Shape, states: Mapping[Key, State]) -> str:
    leaves = {task.id for task in shape.tasks if not shape.children(task.name)}
    ended = {state for (task_id, _), state in states.items() if task_id in leaves}
    return "failed" if ended & set(FAILED) else "success"


def _lose(states: dict[Key, State], random: Random) -> str:
    del states[random.choice(sorted(states))]
    return "a row lost"


def _disturb(states: dict[Key, State], random: Random) -> str:
    state = random.choice(FINISHED)
    states[random.choice(sorted(states))] = state
    return f"a row set to {state}"


def _leave_open(states: dict[Key, State], random: Random) -> str:
    states[random.choice(sorted(states))] = None
    return "a row left without a state"


def _unfinish(shape: Shape, states: dict[Key, State], state: str, random: Random) -> None:
    """Take back what has not come yet: all, or all behind some task."""
    first = random.choice(shape.in_order)
    taken = {first.id} | shape.below(first.name)
    for task_id, index in states:
        if state == "queued" or task_id in taken:
            states[task_id, index] = None
