"""Plays one dag run on paper: which task instances it had, how they ended, when, with which tries.

Knows nothing of the metadata DB. Tasks are Airflow's serialized operators, of which it reads the ids, the
edges, the trigger rule, setup and teardown, and the retries.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from graphlib import TopologicalSorter
from typing import Any, Protocol

from dags.demo_common import failing_tries
from stories import DagStory, Mapping

FAILED_STATES = ("failed", "upstream_failed")


class Task(Protocol):
    """The part of a serialized operator that decides how a run goes."""

    task_id: str
    upstream_task_ids: set[str]
    downstream_task_ids: set[str]
    trigger_rule: str
    is_setup: bool
    is_teardown: bool
    retries: int
    retry_delay: timedelta


@dataclass(frozen=True)
class Try:
    """One try of a task instance; number 0 if it never started."""

    number: int
    state: str
    started: datetime
    ended: datetime


@dataclass(frozen=True)
class Outcome:
    """A task instance at the end of its run: its tries in order, the last one is the one that counts."""

    task_id: str
    map_index: int
    label: str | None
    tries: tuple[Try, ...]
    xcoms: dict[str, Any]
    expanded_to: int | None

    @property
    def state(self) -> str:
        """The final state."""
        return self.tries[-1].state

    @property
    def ended(self) -> datetime:
        """When the last try ended."""
        return self.tries[-1].ended


@dataclass
class RunSimulation:
    """A dag run that began at ``started``, as the DAG's story tells it."""

    story: DagStory
    tasks: dict[str, Task]
    run_id: str
    logical_date: datetime | None
    started: datetime
    now: datetime
    #: Sensors that wait for something that never came.
    waiting_in_vain: frozenset[str] = frozenset()
    _outcomes: dict[str, list[Outcome]] = field(default_factory=dict)

    def play(self) -> list[Outcome]:
        """Return the task instances of the run."""
        order = TopologicalSorter({task_id: task.upstream_task_ids for task_id, task in self.tasks.items()})
        for task_id in order.static_order():
            task = self.tasks[task_id]
            self._outcomes[task_id] = [self._outcome(task, index) for index in self._map_indexes(task)]
        return [outcome for outcomes in self._outcomes.values() for outcome in outcomes]

    def failed(self) -> bool:
        """Say whether the run failed: as in Airflow, its leaves decide, and teardowns are no leaves."""
        return any(
            outcome.state in FAILED_STATES
            for task_id, task in self.tasks.items()
            if not task.is_teardown and all(self.tasks[t].is_teardown for t in task.downstream_task_ids)
            for outcome in self._outcomes[task_id]
        )

    def _mapping(self, task_id: str) -> tuple[str, Mapping] | None:
        """Return the mapped task or task group that a task belongs to."""
        for key, mapping in self.story.mappings.items():
            if task_id == key or task_id.startswith(f"{key}."):
                return key, mapping
        return None

    def _map_indexes(self, task: Task) -> Iterable[int]:
        """Return the map indexes; only -1 for a mapped task whose upstream left nothing to expand over."""
        found = self._mapping(task.task_id)
        if found is None or self._outcomes[found[1].source][0].state != "success":
            return [-1]
        return range(len(found[1].labels))

    def _upstream(self, task: Task, map_index: int) -> Iterator[Outcome]:
        """Yield what the task instance waits for; inside a mapped task group, that of its own map index."""
        own = self._mapping(task.task_id)
        for task_id in task.upstream_task_ids:
            same_group = own is not None and self._mapping(task_id) == own
            for outcome in self._outcomes[task_id]:
                if not same_group or outcome.map_index == map_index:
                    yield outcome

    def _outcome(self, task: Task, map_index: int) -> Outcome:
        upstream = list(self._upstream(task, map_index))
        due = max([outcome.ended for outcome in upstream], default=self.started)
        barred = self._state_without_running(task, upstream)
        if barred is not None:
            tries: tuple[Try, ...] = (Try(0, barred, due, due),)
        else:
            tries = tuple(self._tries(task, map_index, due))
        found = self._mapping(task.task_id)
        succeeded = tries[-1].state == "success"
        return Outcome(
            task_id=task.task_id,
            map_index=map_index,
            label=found[1].labels[map_index] if found and found[1].rendered and map_index >= 0 else None,
            tries=tries,
            xcoms=self._xcoms(task.task_id, map_index) if succeeded else {},
            expanded_to=self._expanded_to(task.task_id) if succeeded else None,
        )

    def _state_without_running(self, task: Task, upstream: list[Outcome]) -> str | None:
        """Return the state that the trigger rule gives the task instance at once, or None if it runs."""
        if self._is_branched_away(task, upstream):
            return "skipped"
        if task.is_teardown:
            upstream = [outcome for outcome in upstream if self.tasks[outcome.task_id].is_setup]
        states = {outcome.state for outcome in upstream}
        if states.intersection(FAILED_STATES):
            return "upstream_failed"
        if task.trigger_rule == "none_failed_min_one_success":
            return "skipped" if states == {"skipped"} else None
        return "skipped" if "skipped" in states else None

    def _is_branched_away(self, task: Task, upstream: list[Outcome]) -> bool:
        branch = self._chosen_branch()
        return branch is not None and any(
            outcome.task_id == branch[0] and outcome.state == "success" and task.task_id != branch[1]
            for outcome in upstream
        )

    def _chosen_branch(self) -> tuple[str, str] | None:
        if self.story.branch is None or self.logical_date is None:
            return None
        task_id, choose = self.story.branch
        return task_id, choose(self.logical_date)

    def _tries(self, task: Task, map_index: int, due: datetime) -> Iterator[Try]:
        """Yield the tries: those that fail, and, if the retries were enough, one that succeeds."""
        rng = random.Random(f"{self.run_id}/{task.task_id}/{map_index}")
        failing = self._failing_tries(task, map_index, due)
        usual = self.story.tasks[task.task_id].seconds
        for number in range(1, task.retries + 2):
            started = due + timedelta(seconds=rng.uniform(0.8, 4))
            ended = started + timedelta(seconds=usual * rng.lognormvariate(0, 0.25))
            yield Try(number, "failed" if number <= failing else "success", started, ended)
            if number > failing:
                return
            due = ended + task.retry_delay

    def _failing_tries(self, task: Task, map_index: int, due: datetime) -> int:
        if task.task_id in self.waiting_in_vain:
            return task.retries + 1
        hours_ago = (self.now - due).total_seconds() / 3600
        for incident in self.story.incidents:
            hit = incident.task_id == task.task_id and incident.map_index == map_index
            if hit and incident.to_hours_ago <= hours_ago < incident.from_hours_ago:
                return task.retries + 1
        if self.story.tasks[task.task_id].flaky:
            return failing_tries(self.story.dag_id, task.task_id, self.run_id, map_index)
        return 0

    def _xcoms(self, task_id: str, map_index: int) -> dict[str, Any]:
        branch = self._chosen_branch()
        if branch is not None and branch[0] == task_id:
            return {"skipmixin_key": {"followed": [branch[1]]}}
        result = self.story.tasks[task_id].result
        if result is None:
            return {}
        return {"return_value": result[map_index] if map_index >= 0 else result}

    def _expanded_to(self, task_id: str) -> int | None:
        lengths = [len(m.labels) for m in self.story.mappings.values() if m.source == task_id]
        return lengths[0] if lengths else None
