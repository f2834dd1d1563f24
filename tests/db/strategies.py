"""Hypothesis strategies for DAGs, their histories, and what an operator may ask to clear of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

from airflow.sdk import DAG, BaseOperator, TaskGroup, task_group
from airflow.utils.state import TaskInstanceState
from hypothesis import strategies as st

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
STATES: tuple[str | None, ...] = (None, *(state.value for state in TaskInstanceState))
FINISHED = ("success", "failed", "skipped", "upstream_failed", "removed")
TRIGGER_RULES = (
    "all_success",
    "all_done",
    "one_failed",
    "one_success",
    "none_failed",
    "none_failed_min_one_success",
)


def day(number: int) -> datetime:
    """Return the logical date that stands for ``number``."""
    return START + timedelta(days=number)


class Step(BaseOperator):
    """A task that could be mapped."""

    def __init__(self, *, value: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value = value


@dataclass(frozen=True)
class Group:
    """A task group; ``mapped`` is ``None``, a literal length, or the index of the task mapped over."""

    name: str
    parent: int | None = None
    mapped: int | tuple[Literal["over"], int] | None = None


@dataclass(frozen=True)
class Node:
    """A task; ``mapped`` as in :class:`Group`."""

    name: str
    group: int | None = None
    role: Literal["work", "setup", "teardown"] = "work"
    mapped: int | tuple[Literal["over"], int] | None = None
    trigger_rule: str = "all_success"
    retries: int = 0


@dataclass(frozen=True)
class Shape:
    """A DAG on paper: edges lead from a lower index in ``nodes`` to a higher one."""

    nodes: tuple[Node, ...]
    groups: tuple[Group, ...] = ()
    edges: frozenset[tuple[int, int]] = frozenset()

    @property
    def task_ids(self) -> tuple[str, ...]:
        """Task ids as the DAG has them, by index."""
        return tuple(".".join((*self._path(node.group), node.name)) for node in self.nodes)

    @property
    def group_ids(self) -> tuple[str, ...]:
        """Group ids as the DAG has them, by index."""
        return tuple(".".join(self._path(index)) for index in range(len(self.groups)))

    @property
    def mapped_at_run_time(self) -> list[tuple[str, int]]:
        """Task and group ids that are mapped over another task, with that task's index."""
        named = [*zip(self.task_ids, self.nodes, strict=True), *zip(self.group_ids, self.groups, strict=True)]
        return [(name, item.mapped[1]) for name, item in named if isinstance(item.mapped, tuple)]

    @property
    def has_setups(self) -> bool:
        """Whether any task is a setup or a teardown."""
        return any(node.role != "work" for node in self.nodes)

    def in_mapping(self, index: int) -> bool:
        """Whether a task is mapped, or in a mapped task group."""
        return self.nodes[index].mapped is not None or self.mapped_group(self.nodes[index].group)

    def mapped_group(self, group: int | None) -> bool:
        """Whether a group, or one around it, is mapped."""
        while group is not None:
            if self.groups[group].mapped is not None:
                return True
            group = self.groups[group].parent
        return False

    def _path(self, group: int | None) -> tuple[str, ...]:
        if group is None:
            return ()
        return (*self._path(self.groups[group].parent), self.groups[group].name)

    def build(self, dag_id: str, stamp: str = "") -> DAG:
        """Write the DAG as an author would."""
        with DAG(dag_id, schedule=None, start_date=START, doc_md=stamp or None) as dag:
            _Builder(self).build()
        return dag


class _Builder:
    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.tasks: dict[int, Any] = {}

    def build(self) -> None:
        self._fill(None)
        for first, second in sorted(self.shape.edges):
            self.tasks[first] >> self.tasks[second]
        for index, node in enumerate(self.shape.nodes):
            if node.role == "setup":
                self.tasks[index].as_setup()
            elif node.role == "teardown":
                self.tasks[index].as_teardown()

    def _fill(self, group: int | None) -> None:
        for index, node in enumerate(self.shape.nodes):
            if node.group == group:
                self.tasks[index] = self._task(node)
        for index, child in enumerate(self.shape.groups):
            if child.parent == group:
                self._group(index, child)

    def _task(self, node: Node) -> Any:
        options: dict[str, Any] = {"task_id": node.name, "retries": node.retries}
        if node.role == "work":
            options["trigger_rule"] = node.trigger_rule
        if node.mapped is None:
            return Step(**options)
        return Step.partial(**options).expand(value=self._values(node.mapped))

    def _group(self, index: int, group: Group) -> None:
        if group.mapped is None:
            with TaskGroup(group.name):
                self._fill(index)
            return

        @task_group(group_id=group.name)
        def body(value: Any) -> None:
            self._fill(index)

        body.expand(value=self._values(group.mapped))

    def _values(self, mapped: int | tuple[str, int]) -> Any:
        return list(range(mapped)) if isinstance(mapped, int) else self.tasks[mapped[1]].output


@dataclass(frozen=True)
class Run:
    """A dag run on paper. Its task instances get the states of ``palette`` in turn."""

    name: str
    day: int | None
    state: str = "success"
    run_type: str = "manual"
    version: int = 0
    bundle_version: str | None = None
    versionless: bool = False
    lengths: int | None = None
    palette: tuple[str | None, ...] = ("success",)


@dataclass(frozen=True)
class History:
    """The versions of a DAG and its runs, in the order in which they were made."""

    shapes: tuple[Shape, ...]
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Ask:
    """What to clear, in terms that both Airflow and Safe Clear can be asked in."""

    tasks: tuple[str, ...] | None = None
    map_index: int | None = None
    runs: tuple[str, ...] = ()
    first: int | None = None
    last: int | None = None
    date_field: Literal["logical_date", "run_after"] = "logical_date"
    upstream: bool = False
    downstream: bool = False
    past: bool = False
    future: bool = False
    only: Literal["failed", "running"] | None = None
    exclude: tuple[str, ...] = ()
    run_type: tuple[str, ...] = ()
    run_state: tuple[str, ...] = ()
    on_latest: bool | None = None

    def __str__(self) -> str:
        """Show only what is asked for."""
        given = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return ", ".join(
            f"{name}={value!r}"
            for name, value in given.items()
            if value is not None and value != () and value is not False
        )


def mappings(sources: list[int]) -> st.SearchStrategy[int | tuple[str, int]]:
    """Draw what to map over: a literal of some length, or the result of an earlier task."""
    literal = st.integers(0, 3)
    if not sources:
        return literal
    return st.one_of(st.tuples(st.just("over"), st.sampled_from(sources)), literal)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Draw a DAG."""
    size = draw(st.integers(2, 7))
    groups: list[Group] = []
    first_member: dict[int, int] = {}
    membership = [draw(st.sampled_from([None, None, None, 0, 0, 1, 2])) for _ in range(size)]
    for index, group in enumerate(membership):
        if group is not None:
            for around in {group, *range(min(group, 1))}:
                first_member.setdefault(around, index)
    used = max((group for group in membership if group is not None), default=-1) + 1
    for index in range(used):
        parent = 0 if index > 0 and draw(st.booleans()) else None
        inside_mapped = parent is not None and groups[parent].mapped is not None
        sources = [i for i in range(first_member.get(index, 0)) if membership[i] is None]
        mapped = draw(mappings(sources)) if not inside_mapped and draw(st.booleans()) else None
        groups.append(Group(f"g{index}", parent, mapped))
    bare = Shape((), tuple(groups))
    nodes = [_node(draw, index, membership, bare) for index in range(size)]
    pairs = [(a, b) for b in range(size) for a in range(b)]
    edges = set(draw(st.lists(st.sampled_from(pairs), max_size=2 * size, unique=True)))
    return _legal(nodes, groups, edges)


def _node(draw: st.DrawFn, index: int, membership: list[int | None], bare: Shape) -> Node:
    group = membership[index]
    role = draw(st.sampled_from(["work", "work", "work", "setup", "teardown"]))
    sources = [i for i in range(index) if membership[i] is None]
    mappable = role == "work" and not bare.mapped_group(group)
    mapped = draw(mappings(sources)) if mappable and draw(st.integers(0, 2)) == 0 else None
    rule = draw(st.sampled_from(TRIGGER_RULES)) if role == "work" else "all_success"
    return Node(f"t{index}", group, role, mapped, rule, retries=index % 3)


def _legal(nodes: list[Node], groups: list[Group], edges: set[tuple[int, int]]) -> Shape:
    """Return the DAG without what Airflow refuses: another rule than all_success behind a setup."""
    sources = [item.mapped[1] for item in (*nodes, *groups) if isinstance(item.mapped, tuple)]
    # A task that is mapped over returns a list of its own, so it is a single task instance that works.
    nodes = [
        Node(node.name, node.group, "work", None, node.trigger_rule, node.retries)
        if index in sources
        else node
        for index, node in enumerate(nodes)
    ]
    behind_setup = {b for a, b in edges if nodes[a].role == "setup"}
    nodes = [
        Node(node.name, node.group, node.role, node.mapped, "all_success", node.retries)
        if index in behind_setup
        else node
        for index, node in enumerate(nodes)
    ]
    return Shape(tuple(nodes), tuple(groups), frozenset(edges))


@st.composite
def runs(draw: st.DrawFn, number: int, versions: int) -> Run:
    """Draw a run; the number makes its id and its day its own."""
    run_type = draw(st.sampled_from(["manual", "scheduled", "backfill", "asset_triggered"]))
    undated = run_type == "asset_triggered" or (run_type == "manual" and draw(st.integers(0, 4)) == 0)
    return Run(
        name=f"r{number}",
        day=None if undated else number,
        state=draw(st.sampled_from(["success", "failed", "running", "queued"])),
        run_type=run_type,
        version=draw(st.integers(0, versions - 1)),
        bundle_version=draw(st.sampled_from([None, None, "b1"])),
        versionless=draw(st.integers(0, 4)) == 0,
        lengths=draw(st.sampled_from([None, 0, 1, 2, 3])),
        palette=tuple(draw(st.lists(st.sampled_from(STATES), min_size=1, max_size=4))),
    )


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw one or two versions of a DAG with a few runs."""
    versions = [draw(shapes())]
    if draw(st.integers(0, 2)) == 0:
        versions.append(draw(shapes()))
    drawn = [draw(runs(number, len(versions))) for number in range(draw(st.integers(1, 3)))]
    return History(tuple(versions), tuple(sorted(drawn, key=lambda run: (run.version, run.name))))


@st.composite
def asks(draw: st.DrawFn, history: History) -> Ask:
    """Draw what to clear of a history."""
    task_ids = sorted({task_id for shape in history.shapes for task_id in shape.task_ids})
    values: dict[str, Any] = {"tasks": draw(_task_choices(task_ids))}
    if values["tasks"] is not None:
        values["upstream"], values["downstream"] = draw(st.booleans()), draw(st.booleans())
        if len(values["tasks"]) == 1:
            values["map_index"] = draw(st.sampled_from([None, None, 0, 1, -1]))
    values.update(draw(_targets(history)))
    values["only"] = draw(st.sampled_from([None, None, "failed", "running"]))
    values["exclude"] = tuple(draw(st.lists(st.sampled_from(task_ids), max_size=2, unique=True)))
    values["on_latest"] = draw(st.sampled_from([None, None, False, True]))
    return Ask(**values)


def _task_choices(task_ids: list[str]) -> st.SearchStrategy[tuple[str, ...] | None]:
    one = st.tuples(st.sampled_from(task_ids))
    several = st.lists(st.sampled_from(task_ids), min_size=2, max_size=3, unique=True).map(tuple)
    return st.one_of(one, several if len(task_ids) > 1 else one, st.none())


@st.composite
def _targets(draw: st.DrawFn, history: History) -> dict[str, Any]:
    kind = draw(st.sampled_from(["dates", "dates", "run", "run", "runs", "runs and dates", "run_after"]))
    names = [run.name for run in history.runs]
    values: dict[str, Any] = {}
    if kind == "run":
        values["runs"] = (draw(st.sampled_from(names)),)
    elif kind.startswith("runs"):
        values["runs"] = tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)))
    if "runs" not in values or kind == "runs and dates":
        first = draw(st.integers(0, 3))
        last = draw(st.integers(first, 3))
        # One bound at least: a clear of everything is refused.
        values["first"], values["last"] = draw(st.sampled_from([(first, last), (first, None), (None, last)]))
    if kind in ("dates", "run"):
        values["past"], values["future"] = draw(st.booleans()), draw(st.booleans())
    if kind == "run_after":
        values["date_field"] = "run_after"
    if kind != "run" and draw(st.integers(0, 3)) == 0:
        values["run_type"] = (draw(st.sampled_from(["manual", "scheduled", "asset_triggered"])),)
        values["run_state"] = tuple(draw(st.sampled_from([(), ("success", "failed"), ("running",)])))
    return values


TRAILS = (
    "note",
    "hitl",
    "answered",
    "xcom",
    "rendered",
    "rescheduled",
    "another_try",
    "same_try",
    "trigger",
    "resumes",
    "queued_once",
    "never_tried",
    "without_version",
)
"""What a task instance may have left in other tables, or carry beside its state."""

MOVES = (
    "scheduled",
    "scheduled",
    "queued",
    "running",
    "success",
    "skipped",
    "removed",
    "rescheduled",
    "deferred",
    "triggered",
    "orphaned",
    "cleared",
    "deleted",
)
"""What may become of a task instance between its clear and the undo."""

RUN_MOVES = ("running", "success", "failed", "cleared", "deleted")


@dataclass(frozen=True)
class Meanwhile:
    """What happens to the nth task instance, or to the nth run, between a clear and its undo."""

    kind: Literal["task_instance", "dag_run"]
    nth: int
    to: str


@dataclass(frozen=True)
class ClearAndUndo:
    """A history, a clear of it, what happens then, and an undo in two parts: some runs, then the rest."""

    history: History
    ask: Ask
    trails: tuple[tuple[str, ...], ...] = ((),)
    """The trails of the task instances, in turn."""
    meanwhile: tuple[Meanwhile, ...] = ()
    first_undone: tuple[str, ...] = ()
    running: Literal["leave_out", "terminate"] = "leave_out"
    reset_dag_runs: bool = True
    batch_size: int = 500


def _at_rest(run: Run) -> Run:
    """Return the run without what is with an executor, a trigger or a person."""
    pending = ("queued", "running", "restarting", "deferred", "awaiting_input")
    return replace(run, palette=tuple("failed" if state in pending else state for state in run.palette))


@st.composite
def clears_and_undos(draw: st.DrawFn) -> ClearAndUndo:
    """Draw a clear with an undo; in every other one nothing is under way, and nothing happens in between."""
    history, calm = draw(histories()), draw(st.booleans())
    if calm:
        history = History(history.shapes, tuple(map(_at_rest, history.runs)))
    names = [run.name for run in history.runs]
    whole = Ask(runs=tuple(names))
    meanwhile = st.one_of(
        st.builds(Meanwhile, st.just("task_instance"), st.integers(0, 30), st.sampled_from(MOVES)),
        st.builds(Meanwhile, st.just("task_instance"), st.integers(0, 30), st.sampled_from(MOVES)),
        st.builds(Meanwhile, st.just("dag_run"), st.integers(0, 2), st.sampled_from(RUN_MOVES)),
    )
    trail = st.lists(st.sampled_from(TRAILS), max_size=4, unique=True).map(tuple)
    return ClearAndUndo(
        history,
        draw(st.one_of(st.just(whole), st.just(whole), asks(history))),
        trails=tuple(draw(st.lists(trail, min_size=1, max_size=5))),
        meanwhile=() if calm else tuple(draw(st.lists(meanwhile, max_size=4))),
        first_undone=tuple(draw(st.lists(st.sampled_from(names), max_size=2, unique=True))),
        running=draw(st.sampled_from(["leave_out", "terminate"])),
        reset_dag_runs=draw(st.integers(0, 3)) > 0,
        batch_size=draw(st.sampled_from([1, 500])),
    )
