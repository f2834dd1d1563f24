"""Draws changes of a DAG's file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from tests.outcomes.drawing import draw_rule, legal, some_task, with_task
from tests.outcomes.shapes import MAPPABLE, Shape, Task


def _added(shape: Shape, random: Random, place: str) -> Shape:
    name = f"n{len(shape.tasks)}"
    edges = set(shape.edges)
    if place == "leaf":
        edges.add((random.choice(shape.tasks).name, name))
    elif place == "root":
        if random.random() < 0.6:
            edges.add((name, random.choice(shape.tasks).name))
    elif shape.edges:
        first, second = random.choice(sorted(shape.edges))
        edges |= {(first, name), (name, second)}
        if random.random() < 0.5:
            edges.discard((first, second))
    kind = random.choice(("empty", "empty", "empty", "fails"))
    return replace(shape, tasks=(*shape.tasks, Task(name, kind)), edges=frozenset(edges))


def _add(place: str) -> Callable[[Shape, Random], Shape]:
    return lambda shape, random: _added(shape, random, place)


def _drop(shape: Shape, random: Random) -> Shape:
    if len(shape.tasks) < 2:
        return shape
    gone = random.choice(shape.tasks).name
    bridged = {(p, c) for p in shape.parents(gone) for c in shape.children(gone)}
    edges = {edge for edge in shape.edges if gone not in edge} | bridged
    return replace(
        shape,
        tasks=tuple(
            replace(task, follow=tuple(name for name in task.follow if name != gone))
            for task in shape.tasks
            if task.name != gone
        ),
        edges=frozenset(edges),
    )


def _rename(shape: Shape, random: Random) -> Shape:
    old = random.choice(shape.tasks).name

    def new(name: str) -> str:
        return f"{name}2" if name == old else name

    tasks = tuple(replace(t, name=new(t.name), follow=tuple(map(new, t.follow))) for t in shape.tasks)
    return replace(shape, tasks=tasks, edges=frozenset((new(a), new(b)) for a, b in shape.edges))


def _resize(shape: Shape, random: Random) -> Shape:
    task = some_task(shape, random, lambda task: bool(task.mapped))
    if task:
        return with_task(
            shape, task.name, mapped=random.choice([n for n in (0, 1, 2, 3, 5) if n != task.mapped])
        )
    if any(length for _, length in shape.groups):
        return replace(shape, groups=(("g", random.choice((1, 2, 4))),))
    return _map(shape, random)


def _map(shape: Shape, random: Random) -> Shape:
    task = some_task(shape, random, lambda t: t.kind in MAPPABLE and not t.group)
    if task is None:
        return shape
    return with_task(shape, task.name, mapped=None if task.mapped else random.choice((1, 2, 3)))


CHANGES: dict[str, Callable[[Shape, Random], Shape]] = {
    "leaf added": _add("leaf"),
    "root added": _add("root"),
    "task added in the middle": _add("middle"),
    "task dropped": _drop,
    "task renamed": _rename,
    "mapping resized": _resize,
    "task mapped or not": _map,
    "rule changed": draw_rule,
    "docs only": lambda shape, random: replace(shape, doc="changed"),
}


def change_shape(shape: Shape, random: Random) -> tuple[Shape, list[str]]:
    """Draw a change of the DAG; often there is none."""
    if random.random() < 0.45:
        return shape, []
    name = random.choice(tuple(CHANGES))
    changed = legal(CHANGES[name](shape, random), random)
    return changed, [name] if changed != shape else []
