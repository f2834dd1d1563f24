"""DAGs on paper: small values that are drawn, changed, and written as DAG files that a person can read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

HEADER = """\
from datetime import datetime, timezone
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.providers.standard.operators.python import ShortCircuitOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, TaskGroup, task_group
from tests.outcomes.operators import Branch, Fails, Inquires, Job, Works

"""

OPERATORS = {
    "empty": "EmptyOperator",
    "setup": "EmptyOperator",
    "teardown": "EmptyOperator",
    "works": "Works",
    "fails": "Fails",
    "branch": "Branch",
    "short": "ShortCircuitOperator",
    "latest": "LatestOnlyOperator",
    "asks": "HITLOperator",
    "inquires": "Inquires",
    "approval": "ApprovalOperator",
    "job": "Job",
    "trigger": "TriggerDagRunOperator",
}
DECIDERS = ("branch", "short", "latest", "approval")
"""Kinds of tasks that say which of those directly behind them are skipped."""
OFFERED = {"asks": ("yes",), "inquires": ("yes",), "approval": ("Approve", "Reject")}
"""What a person can answer to each kind of task that waits for one."""
ASKING = tuple(OFFERED)
"""Kinds of tasks that wait for a person."""
MAPPABLE = ("empty", "works", "fails", "asks", "job")
"""Kinds of tasks that can be mapped."""
ARGUMENTS = {
    "asks": {"subject": "Go on?", "options": ["yes"]},
    "inquires": {"subject": "Go on?", "options": ["yes"]},
    "approval": {"subject": "Go on?"},
    "trigger": {"trigger_dag_id": "child", "trigger_run_id": "there_already"},
}
"""Arguments that every task of a kind has."""
MAPPED_OVER = {"EmptyOperator": "doc_md", "HITLOperator": "subject"}
CHILD = """\
from datetime import datetime, timezone
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG("child", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    EmptyOperator(task_id="work")
"""
"""A DAG with an existing run, which a task of the other DAG triggers."""

Edge = tuple[str, str]


@dataclass(frozen=True)
class Task:
    """A task. ``mapped`` is the number of literals over which it is mapped.

    ``follow`` names what a branch goes on with; a short circuit goes on if it names anything, and so does an
    approval, as this is what the person will say.
    """

    name: str
    kind: str = "empty"
    rule: str = "all_success"
    group: str | None = None
    mapped: int | None = None
    follow: tuple[str, ...] = ()
    options: tuple[tuple[str, object], ...] = ()

    @property
    def id(self) -> str:
        """The task id as the DAG has it."""
        return f"{self.group}.{self.name}" if self.group else self.name

    @property
    def waits_for_past(self) -> bool:
        """Whether the run before decides when it starts."""
        return bool({"depends_on_past", "wait_for_downstream"} & dict(self.options).keys())

    def source(self, follow: Iterable[str]) -> str:
        """Return the statement that makes it."""
        options: dict[str, object] = {
            "task_id": self.name,
            **ARGUMENTS.get(self.kind, {}),
            **dict(self.options),
        }
        if self.rule != "all_success":
            options["trigger_rule"] = self.rule
        if self.kind == "branch":
            options["follow"] = list(follow)
        operator = OPERATORS[self.kind]
        argument = MAPPED_OVER.get(operator, "item")
        if self.mapped is not None:
            options.pop(argument, None)
        text = ", ".join(f"{name}={value!r}" for name, value in options.items())
        if self.kind == "short":
            text += f", python_callable=lambda: {bool(self.follow)}"
        if self.mapped is None:
            return f"{self.name} = {operator}({text})"
        values = [str(number) for number in range(self.mapped)]
        return f"{self.name} = {operator}.partial({text}).expand({argument}={values})"


@dataclass(frozen=True)
class Shape:
    """A DAG. ``groups`` has the number of literals over which each task group is mapped, or ``None``."""

    tasks: tuple[Task, ...]
    edges: frozenset[Edge] = frozenset()
    groups: tuple[tuple[str, int | None], ...] = ()
    options: tuple[tuple[str, object], ...] = ()
    doc: str = ""

    @cached_property
    def by_name(self) -> dict[str, Task]:
        """The tasks by name."""
        return {task.name: task for task in self.tasks}

    @cached_property
    def by_id(self) -> dict[str, Task]:
        """The tasks by task id."""
        return {task.id: task for task in self.tasks}

    @cached_property
    def in_order(self) -> tuple[Task, ...]:
        """The tasks, each after those upstream of it."""
        left, done = list(self.tasks), []
        while left:
            ready = [task for task in left if not self.parents(task.name) - {other.name for other in done}]
            done += ready
            left = [task for task in left if task not in ready]
        return tuple(done)

    def parents(self, name: str) -> set[str]:
        """Return the names of what is directly upstream."""
        return {first for first, second in self.edges if second == name}

    def children(self, name: str) -> set[str]:
        """Return the names of what is directly downstream."""
        return {second for first, second in self.edges if first == name}

    def below(self, name: str) -> set[str]:
        """Return the task ids of all that is downstream."""
        found: set[str] = set()
        waiting = self.children(name)
        while waiting:
            found |= waiting
            waiting = {child for one in waiting for child in self.children(one)} - found
        return {self.by_name[one].id for one in found}

    def length(self, task: Task) -> int | None:
        """Return into how many task instances a task expands, or ``None``."""
        return task.mapped if task.mapped is not None else dict(self.groups).get(task.group or "")

    def decided(self, task: Task, follow: Iterable[str]) -> tuple[set[str], set[str]]:
        """Return the names of what is followed and what is skipped directly behind a branch."""
        followed = set(follow)
        known = {self.by_name[name].id: name for name in self.by_name}
        for name in follow:
            followed |= {known[task_id] for task_id in self.below(name)}
        children = self.children(task.name)
        return children & followed, children - followed

    def source(self, dag_id: str) -> str:
        """Return the DAG file."""
        options = {"schedule": None, **dict(self.options)}
        text = ", ".join(f"{name}={value!r}" for name, value in options.items() if name != "end")
        text += ", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)"
        if options.get("end"):
            text += ", end_date=datetime(2026, 1, 5, tzinfo=timezone.utc)"
        if self.doc:
            text += f", doc_md={self.doc!r}"
        return HEADER + f"with DAG({dag_id!r}, {text}):\n" + "".join(f"    {s}\n" for s in self.statements())

    def statements(self) -> Iterator[str]:
        """Yield the lines within the DAG."""
        for task in self.tasks:
            if task.group is None:
                yield self._task(task)
        for group, length in self.groups:
            yield from self._group(group, length)
        for first, second in sorted(self.edges):
            # as_teardown writes that of a setup and its teardown.
            if (self.by_name[first].kind, self.by_name[second].kind) != ("setup", "teardown"):
                yield f"{first} >> {second}"
        for task in self.tasks:
            if task.kind == "setup":
                yield f"{task.name}.as_setup()"
            if task.kind == "teardown":
                setups = sorted(t.name for t in self.tasks if t.kind == "setup")
                yield f"{task.name}.as_teardown(setups=[{', '.join(setups)}])"

    def _task(self, task: Task) -> str:
        return task.source(sorted(self.by_name[name].id for name in task.follow))

    def _group(self, group: str, length: int | None) -> Iterator[str]:
        members = [task for task in self.tasks if task.group == group]
        if not members:
            return
        if length is None:
            yield f"with TaskGroup({group!r}):"
            yield from (f"    {self._task(task)}" for task in members)
            return
        yield f"@task_group(group_id={group!r})"
        yield f"def {group}(value):"
        yield f"    global {', '.join(task.name for task in members)}"
        yield from (f"    {self._task(task)}" for task in members)
        yield f"{group}.expand(value={list(range(length))})"


State = str | None
Key = tuple[str, int]
"""A task id and a map index."""


@dataclass(frozen=True)
class Run:
    """A dag run of the past; ``states`` are those of its task instances, and what it lacks is deleted."""

    day: int
    state: str = "success"
    kind: str = "manual"
    states: tuple[tuple[Key, State], ...] = ()
    decisions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """What each decider had decided: the task ids that it followed, or skipped if it is a short circuit."""
    asked: tuple[Key, ...] = ()
    """The task instances that a person has answered."""
    jobs: tuple[tuple[Key, str], ...] = ()
    """The jobs in the task state store: running, done, or failed."""
    on_new: bool = False
    """Whether it was made after the DAG changed."""

    @property
    def id(self) -> str:
        """The run id."""
        return f"r{self.day}"


@dataclass(frozen=True)
class Example:
    """A DAG, its past, a change of its file, and what is cleared then."""

    name: str
    before: Shape
    after: Shape
    runs: tuple[Run, ...]
    selection: dict[str, object] = field(default_factory=dict)
    paused: bool = False
    features: tuple[str, ...] = ()
    """What was drawn, in words."""

    @property
    def dag_id(self) -> str:
        """The DAG's id, which is its file's name too."""
        return "ex_" + self.name.replace(":", "_")
