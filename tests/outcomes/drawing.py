"""Draws small DAGs: a plain graph, with one to three things that are not plain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from tests.outcomes.shapes import MAPPABLE, Edge, Shape, Task

RULES = (
    "all_failed",
    "all_done",
    "all_done_min_one_success",
    "one_success",
    "one_failed",
    "one_done",
    "none_failed",
    "none_skipped",
    "always",
    "none_failed_min_one_success",
    "all_skipped",
)
NAMES = "abcdef"


def draw_shape(random: Random) -> tuple[Shape, list[str]]:
    """Draw a DAG, and say what is not plain about it."""
    shape = _plain(random)
    features = random.sample(tuple(FEATURES), random.choice((0, 1, 1, 1, 2, 2, 3)))
    if "setup" in features:
        # Airflow refuses most of the rest around setups.
        features = ["setup"]
    drawn = []
    for name in features:
        changed = FEATURES[name](shape, random)
        if changed != shape:
            drawn.append(name)
            shape = changed
    return legal(shape, random), drawn


def _plain(random: Random) -> Shape:
    size = random.choice((2, 2, 3, 3, 3, 4, 5))
    tasks = tuple(Task(name) for name in NAMES[:size])
    edges: set[Edge] = set()
    for index in range(1, size):
        number = random.choice((0, 1, 1, 1, 1, 1, 2))
        for parent in random.sample(range(index), min(number, index)):
            edges.add((NAMES[parent], NAMES[index]))
    return Shape(tasks, frozenset(edges))


def with_task(shape: Shape, name: str, **values: object) -> Shape:
    """Return the DAG with a task changed."""
    return replace(
        shape, tasks=tuple(replace(task, **values) if task.name == name else task for task in shape.tasks)
    )


def some_task(shape: Shape, random: Random, suits: Callable[[Task], bool]) -> Task | None:
    """Draw one of the tasks that suit."""
    found = [task for task in shape.tasks if suits(task)]
    return random.choice(found) if found else None


def draw_rule(shape: Shape, random: Random) -> Shape:
    """Give a task another trigger rule."""
    task = some_task(shape, random, lambda task: bool(shape.parents(task.name)))
    return with_task(shape, task.name, rule=random.choice(RULES)) if task else shape


def _kind(kind: str) -> Callable[[Shape, Random], Shape]:
    def change(shape: Shape, random: Random) -> Shape:
        task = some_task(shape, random, lambda task: task.kind == "empty" and not shape.length(task))
        return with_task(shape, task.name, kind=kind) if task else shape

    return change


def _decider(kind: str) -> Callable[[Shape, Random], Shape]:
    def change(shape: Shape, random: Random) -> Shape:
        task = some_task(
            shape,
            random,
            lambda t: bool(shape.children(t.name)) and t.kind == "empty" and not t.group and not t.mapped,
        )
        if task is None:
            return shape
        children = sorted(shape.children(task.name))
        follow = tuple(sorted(random.sample(children, random.randint(0, len(children)))))
        shape = with_task(shape, task.name, kind=kind, follow=follow if kind != "latest" else ())
        if kind != "latest":
            return shape
        # Days that are over, so that nothing new is due, and none of the runs is the newest.
        return replace(shape, options=(*shape.options, ("schedule", "@daily"), ("end", True)))

    return change


def _mapped(shape: Shape, random: Random) -> Shape:
    task = some_task(shape, random, lambda t: t.kind in MAPPABLE and not t.group)
    return with_task(shape, task.name, mapped=random.choice((1, 2, 2, 3))) if task else shape


def _grouped(length: tuple[int | None, ...]) -> Callable[[Shape, Random], Shape]:
    def change(shape: Shape, random: Random) -> Shape:
        suits = [t.name for t in shape.tasks if t.kind in MAPPABLE and not t.mapped]
        if not suits or shape.groups:
            return shape
        members = random.sample(suits, random.randint(1, min(2, len(suits))))
        for name in members:
            shape = with_task(shape, name, group="g")
        return replace(shape, groups=(("g", random.choice(length)),))

    return change


def _past(shape: Shape, random: Random) -> Shape:
    task = random.choice(shape.tasks)
    option = random.choice(("depends_on_past", "depends_on_past", "wait_for_downstream"))
    return with_task(shape, task.name, options=(*task.options, (option, True)))


def _pool(shape: Shape, random: Random) -> Shape:
    task = some_task(shape, random, lambda task: task.kind == "empty")
    if task is None:
        return shape
    option = random.choice(((("pool", "closed"),), (("pool", "nowhere"),), (("pool_slots", 2),)))
    if option[0][0] == "pool_slots":
        option = (*option, ("pool", "small"))
    return with_task(shape, task.name, kind="works", options=(*task.options, *option))


def _trigger(shape: Shape, random: Random) -> Shape:
    shape = _kind("trigger")(shape, random)
    for task in shape.tasks:
        if task.kind == "trigger":
            skips = random.choice((True, False))
            return with_task(shape, task.name, options=(*task.options, ("skip_when_already_exists", skips)))
    return shape


def _setup(shape: Shape, random: Random) -> Shape:
    work = random.choice(shape.tasks).name
    behind = sorted(shape.children(work))
    tasks = (*shape.tasks, Task("s", "setup"), Task("t", "teardown"))
    edges = {*shape.edges, ("s", work), (work, "t"), ("s", "t")}
    if behind and random.random() < 0.4:
        more = random.choice(behind)
        edges |= {(more, "t"), ("s", more)}
    return replace(shape, tasks=tasks, edges=frozenset(edges))


FEATURES: dict[str, Callable[[Shape, Random], Shape]] = {
    "trigger rule": draw_rule,
    "another trigger rule": draw_rule,
    "failing task": _kind("fails"),
    "branch": _decider("branch"),
    "short circuit": _decider("short"),
    "latest only": _decider("latest"),
    "question": _kind("asks"),
    "question of a class of one's own": _kind("inquires"),
    "approval": _decider("approval"),
    "job": _kind("job"),
    "another job": _kind("job"),
    "trigger": _trigger,
    "mapped task": _mapped,
    "group": _grouped((None,)),
    "mapped group": _grouped((1, 2, 3)),
    "past": _past,
    "pool": _pool,
    "setup": _setup,
}


def legal(shape: Shape, random: Random) -> Shape:
    """Return the DAG without what Airflow refuses: another rule than all_success behind a setup."""
    behind = {child for task in shape.tasks if task.kind == "setup" for child in shape.children(task.name)}
    special = {task.name for task in shape.tasks if task.kind in ("setup", "teardown")}
    for name in (behind | special) & shape.by_name.keys():
        shape = with_task(shape, name, rule="all_success")
    return shape
