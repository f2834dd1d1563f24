"""Draws what is cleared."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.outcomes.shapes import Run, Shape


def draw_selection(before: Shape, after: Shape, runs: tuple[Run, ...], random: Random) -> dict[str, Any]:
    """Draw a selection of tasks and runs that exist."""
    values: dict[str, Any] = {"run_id": tuple(sorted(run.id for run in _some(runs, random)))}
    common = sorted(before.by_id.keys() & after.by_id.keys()) or sorted(before.by_id)
    kind = random.choice(("task", "task", "task", "two", "whole", "whole", "state", "index"))
    if kind == "task":
        values |= _around(random.choice(common), random)
    elif kind == "two":
        values["task_regex"] = "^(" + "|".join(random.sample(common, min(2, len(common)))) + ")$"
    elif kind == "state":
        values["state"] = random.choice(
            (("failed", "upstream_failed"), ("failed",), ("skipped",), ("success",))
        )
    elif kind == "index":
        values |= _one_index(before, common, random)
    if random.random() < 0.1:
        values["exclude_task_id"] = (random.choice(common),)
    latest = random.choices((None, True, False), (62, 25, 13))[0]
    if latest is not None:
        values["run_on_latest_version"] = latest
    if random.random() < 0.05:
        values["reset_dag_runs"] = False
    return values


def _some(runs: tuple[Run, ...], random: Random) -> list[Run]:
    if random.random() < 0.5:
        return list(runs)
    return random.sample(runs, random.randint(1, len(runs)))


def _around(task_id: str, random: Random) -> dict[str, Any]:
    values: dict[str, Any] = {"task_regex": f"^{task_id}$"}
    if random.random() < 0.4:
        values["include_downstream"] = True
    if random.random() < 0.15:
        values["include_upstream"] = True
    return values


def _one_index(shape: Shape, common: list[str], random: Random) -> dict[str, Any]:
    mapped = [task for task in shape.tasks if shape.length(task) and task.id in common]
    if not mapped:
        return _around(random.choice(common), random)
    task = random.choice(mapped)
    return {**_around(task.id, random), "map_index": random.randrange(shape.length(task) or 1)}
