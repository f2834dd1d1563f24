"""What Safe Clear plans is what Airflow answers, for every selection that Airflow can express.

Airflow is asked itself: the REST endpoint's function and ``SerializedDAG.clear(dry_run=True, …)``. Where its
own paths disagree, :func:`decided` puts the answer together from those same functions as docs/selecting.md
decides; a line of the table is named where it is applied.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from airflow.api_fastapi.core_api.datamodels.task_instances import ClearTaskInstancesBody
from airflow.api_fastapi.core_api.routes.public import task_instances as routes
from airflow.models import taskinstance as airflow_taskinstance
from airflow.models.dag_version import DagVersion
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.models.expandinput import NotFullyPopulated
from airflow.models.taskinstance import TaskInstance
from airflow.serialization.definitions.dag import SerializedDAG
from hypothesis import HealthCheck, currently_in_test_context, given, note, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.plan_filters import RowFilter
from safe_clear_plugin.core.problems import Invalid
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.states import RUNNING_STATES
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.storage.plans import plan_reader
from tests.db.strategies import Ask, Group, History, Node, Run, Shape, asks, day, histories
from tests.support import options
from tests.support.factories import expand, make_run, store_dag, task_instances
from tests.support.oracles import Keys, ask_airflow

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]

ME = Actor("1", "Me")
EVERYTHING = 10_000
NUMBERS = itertools.count(1)

# Airflow 3.2 has no such rule, and its SerializedDAG.clear brings no setups and teardowns: its CLI does.
AIRFLOW_33 = hasattr(airflow_taskinstance, "_pin_versionless_tis_to_run_version")


@dataclass
class World:
    """A history as it stands in the database."""

    dag_id: str
    history: History
    session: Any
    runs: dict[str, DagRun]
    dags: dict[UUID, SerializedDAG]
    latest: UUID

    def version_of(self, run: DagRun, ask: Ask) -> UUID:
        """Return the DAG version that a run uses when it re-runs."""
        if ask.on_latest or (AIRFLOW_33 and run.created_dag_version_id is None):
            return self.latest
        return DBDagBag._version_from_dag_run(run, session=self.session) or self.latest


def build(history: History, session: Any) -> World:
    """Write a history to the database, under a DAG id of its own."""
    dag_id = f"dag_{next(NUMBERS)}"
    runs: dict[str, DagRun] = {}
    for number, shape in enumerate(history.shapes):
        dag = shape.build(dag_id, stamp=f"version {number}")
        store_dag(dag, session=session)
        # The latest version is rewritten in place where no task instance refers to it.
        session.expunge_all()
        for planned in (run for run in history.runs if run.version == number):
            runs[planned.name] = _build_run(dag, shape, planned, session)
    bag = DBDagBag(load_op_links=False)
    versions = session.scalars(select(DagVersion.id).where(DagVersion.dag_id == dag_id)).all()
    latest = DagVersion.get_latest_version(dag_id, session=session).id
    dags = {version: bag.get_dag(version, session) for version in versions}
    return World(dag_id, history, session, runs, dags, latest)


def _build_run(dag: Any, shape: Shape, planned: Run, session: Any) -> DagRun:
    number = int(planned.name[1:])
    run = make_run(
        dag,
        session=session,
        run_id=planned.name,
        logical_date=None if planned.day is None else day(planned.day),
        run_after=day(number),
        run_type=planned.run_type,
        state=planned.state,
        bundle_version=planned.bundle_version,
    )
    if planned.lengths is not None:
        for name, _ in shape.mapped_at_run_time:
            expand(run, name, planned.lengths, session=session)
    palette = itertools.cycle(planned.palette)
    for ti in task_instances(run, session=session):
        ti.state = next(palette)
        ti.try_number = 1
    if planned.versionless:
        run.created_dag_version_id = None
        session.flush()
        session.execute(
            update(TaskInstance)
            .where(TaskInstance.dag_id == run.dag_id, TaskInstance.run_id == run.run_id)
            .values(dag_version_id=None)
        )
    session.commit()
    return run


def say(text: str) -> None:
    """Explain a failure, drawn or written."""
    (note if currently_in_test_context() else print)(text)


# --- Safe Clear ---------------------------------------------------------------------------------------------


def selection_of(ask: Ask, dag_id: str, running: str) -> Selection:
    """Say in Safe Clear's fields what is asked for."""
    return Selection(
        dag_id,
        task_regex="" if ask.tasks is None else f"^({'|'.join(re.escape(task) for task in ask.tasks)})$",
        run_id=ask.runs,
        date_field=ask.date_field,
        date_from=None if ask.first is None else day(ask.first),
        date_to=None if ask.last is None else day(ask.last),
        run_type=ask.run_type,
        run_state=ask.run_state,
        state={None: (), "failed": ("failed", "upstream_failed"), "running": ("running",)}[ask.only],
        map_index=ask.map_index,
        include_upstream=ask.upstream,
        include_downstream=ask.downstream,
        include_past=ask.past,
        include_future=ask.future,
        exclude_task_id=ask.exclude,
        running=running,
        run_on_latest_version=ask.on_latest,
    )


def without_unknown_exclusions(ask: Ask, world: World) -> Ask:
    """Leave out excluded tasks without a task instance, which Airflow passes over and Safe Clear refuses."""
    of_dag = select(TaskInstance.task_id).where(TaskInstance.dag_id == world.dag_id)
    known = set(world.session.scalars(of_dag.distinct()))
    kept = tuple(task_id for task_id in ask.exclude if task_id in known)
    return replace(ask, exclude=kept)


def planned(ask: Ask, world: World, running: str = "terminate") -> Keys:
    """Return what Safe Clear would hand to Airflow's clear."""
    try:
        plan = make_plan(selection_of(ask, world.dag_id, running), ME, datetime.now(timezone.utc))
    except Invalid as refusal:
        say(f"  Safe Clear refuses: {'; '.join(str(problem) for problem in refusal.problems)}")
        known = without_unknown_exclusions(ask, world)
        # What is refused for another reason takes nothing, as Airflow must agree.
        return frozenset() if known == ask else planned(known, world, running)
    rows = plan_reader.task_instances(UUID(plan.id), RowFilter(), world.session, limit=EVERYTHING)
    cleared = [row for row in rows if row.effect in ("clear", "terminate")]
    assert plan.task_instances == len(cleared)
    assert all(row.why for row in rows)
    return frozenset((row.run_id, row.task_id, row.map_index) for row in cleared)


# --- Airflow ------------------------------------------------------------------------------------------------


class OneVersion(DBDagBag):
    """A dag bag that knows one version of the DAG, so that the endpoint answers for that one."""

    def __init__(self, dag: SerializedDAG) -> None:
        super().__init__(load_op_links=False)
        self.dag = dag

    def get_latest_version_of_dag(self, dag_id: str, *, session: Any) -> SerializedDAG:
        return self.dag

    def get_dag_for_run(self, dag_run: DagRun, session: Any) -> SerializedDAG:
        return self.dag


class AsTheyAre:
    """Stands in for the response model, which fails on a task instance without a DAG version."""

    @staticmethod
    def model_validate(ti: TaskInstance) -> TaskInstance:
        return ti


def rest(ask: Ask, world: World, dag_bag: DBDagBag) -> Keys:
    """Ask the REST endpoint, in a dry run, what it would clear."""
    body: dict[str, Any] = {
        "dry_run": True,
        "only_failed": ask.only == "failed",
        "only_running": ask.only == "running",
        "include_upstream": ask.upstream,
        "include_downstream": ask.downstream,
        "include_past": ask.past,
        "include_future": ask.future,
        "run_on_latest_version": bool(ask.on_latest),
    }
    if ask.tasks is not None:
        body["task_ids"] = [task if ask.map_index is None else (task, ask.map_index) for task in ask.tasks]
    if ask.runs:
        (body["dag_run_id"],) = ask.runs
    if ask.first is not None:
        body["start_date"] = day(ask.first)
    if ask.last is not None:
        body["end_date"] = day(ask.last)
    arguments = {"user": None} if AIRFLOW_33 else {}
    with mock.patch.multiple(routes, TaskInstanceResponse=AsTheyAre, TaskInstanceCollectionResponse=dict):
        answer = routes.post_clear_task_instances(
            world.dag_id, dag_bag, ClearTaskInstancesBody(**body), world.session, **arguments
        )
    return frozenset((ti.run_id, ti.task_id, ti.map_index) for ti in answer["task_instances"])


def clear_dry_run(ask: Ask, world: World, dag: SerializedDAG) -> Keys:
    """Ask ``SerializedDAG.clear``."""
    found = dag.clear(
        dry_run=True,
        task_ids=ask.tasks,
        run_id=ask.runs[0] if ask.runs else None,
        start_date=None if ask.first is None else day(ask.first),
        end_date=None if ask.last is None else day(ask.last),
        only_failed=ask.only == "failed",
        only_running=ask.only == "running",
        exclude_task_ids=frozenset(ask.exclude),
        session=world.session,
    )
    return frozenset((ti.run_id, ti.task_id, ti.map_index) for ti in found)


@contextmanager
def setups_come_along() -> Iterator[None]:
    """Make 3.2's ``SerializedDAG.clear`` bring setups and teardowns, as its CLI and 3.3 do."""
    if AIRFLOW_33:
        yield
        return
    original = SerializedDAG.clear

    def clear(self: SerializedDAG, task_ids: Any = None, **options: Any) -> Any:
        if task_ids is not None:
            plain = {task if isinstance(task, str) else task[0] for task in task_ids}
            subset = self.partial_subset(plain, include_downstream=False, include_upstream=False)
            task_ids = [*task_ids, *(subset.task_dict.keys() - plain)]
        return original(self, task_ids, **options)

    with mock.patch.object(SerializedDAG, "clear", clear):
        yield


# --- What the table decides ---------------------------------------------------------------------------------


def decided(ask: Ask, world: World) -> Keys:
    """Return what is to be cleared: Airflow's own answers, put together as the table says."""
    by_version: dict[UUID, set[str]] = defaultdict(set)
    for name, run in world.runs.items():
        # Which DAG version decides: the one that the run will use when it re-runs.
        by_version[world.version_of(run, ask)].add(name)
    with setups_come_along():
        found = {
            key
            for version, names in by_version.items()
            for key in _of_version(ask, world, world.dags[version])
            if key[0] in names
        }
    return frozenset(
        key for key in found if key[1] not in ask.exclude and _run_passes(world.runs[key[0]], ask)
    )


def _of_version(ask: Ask, world: World, dag: SerializedDAG) -> Iterable[tuple[str, str, int]]:
    if ask.tasks is not None:
        ask = replace(ask, tasks=tuple(task for task in ask.tasks if dag.has_task(task)))
        if not ask.tasks:
            return ()
    bare = replace(ask, first=None, last=None)
    if len(ask.runs) == 1:
        return _of_one_run(bare, world, dag)
    if ask.runs and ask.map_index is None:
        # Several runs: each for itself.
        return {key for run in ask.runs for key in _of_one_run(replace(bare, runs=(run,)), world, dag)}
    if ask.runs or ask.date_field == "run_after":
        # The dates of the runs are looked at afterwards.
        return rest(replace(bare, runs=(), past=False, future=False), world, OneVersion(dag))
    return rest(ask, world, OneVersion(dag))


def _of_one_run(ask: Ask, world: World, dag: SerializedDAG) -> Keys:
    if not (ask.upstream and ask.downstream):
        return _relatives_of_one_run(ask, world, dag)
    # Upstream and downstream together: of the matched tasks only.
    return _relatives_of_one_run(replace(ask, downstream=False), world, dag) | _relatives_of_one_run(
        replace(ask, upstream=False), world, dag
    )


def _relatives_of_one_run(ask: Ask, world: World, dag: SerializedDAG) -> Keys:
    try:
        return rest(ask, world, OneVersion(dag))
    except NotFullyPopulated:
        pass
    # Relatives of a map index in a run not yet expanded: those that share its mapping are the unexpanded
    # task instance; the others are taken whole, as Airflow does once the run is expanded.
    assert ask.tasks is not None
    (task_id,) = ask.tasks
    task = dag.get_task(task_id)
    alone = replace(ask, upstream=False, downstream=False)
    found = set(rest(alone, world, OneVersion(dag)))
    for relative in task.get_flat_relatives(upstream=ask.upstream):
        shared = airflow_taskinstance._find_common_ancestor_mapped_group(task, relative)
        index = None if shared is None else -1
        found |= rest(replace(alone, tasks=(relative.task_id,), map_index=index), world, OneVersion(dag))
    return frozenset(found)


def _run_passes(run: DagRun, ask: Ask) -> bool:
    date = getattr(run, ask.date_field)
    if not ask.runs and date is None:
        # Undated runs come in only by run_after or by name.
        return False
    if len(ask.runs) == 1 and (ask.past or ask.future):
        if date is None:
            return False
    elif ask.runs and run.run_id not in ask.runs:
        return False
    if not (ask.past or ask.future):
        # Runs and dates together: the runs within the dates.
        if ask.first is not None and (date is None or date < day(ask.first)):
            return False
        if ask.last is not None and (date is None or date > day(ask.last)):
            return False
    # run_type and run_state filter the result.
    return (not ask.run_type or run.run_type in ask.run_type) and (
        not ask.run_state or run.state in ask.run_state
    )


# --- Where Airflow's answer stands as it is -----------------------------------------------------------------


def undisputed(ask: Ask, world: World) -> bool:
    """Whether no line of the table applies: Airflow itself, asked once, has the last word."""
    has_dates = ask.first is not None or ask.last is not None
    unbounded = (ask.past or ask.first is None) and (ask.future or ask.last is None)
    asked = set(ask.tasks or ())
    disputes = (
        len(ask.runs) > 1,
        ask.runs and has_dates,
        ask.run_type or ask.run_state or ask.date_field == "run_after",
        ask.upstream and ask.downstream and ask.runs,
        not ask.runs and unbounded,
        ask.past and ask.future,
        not AIRFLOW_33 and asked and any(shape.has_setups for shape in world.history.shapes),
        any(world.version_of(run, ask) != _version_of_airflow(ask, world) for run in world.runs.values()),
        any(asked - set(dag.task_dict) for dag in world.dags.values()),
    )
    return not any(disputes)


def _version_of_airflow(ask: Ask, world: World) -> UUID | None:
    """Return the version that the endpoint looks at: the named run's, or else the latest."""
    if not ask.runs:
        return world.latest
    return DBDagBag._version_from_dag_run(world.runs[ask.runs[0]], session=world.session)


def check_undisputed(ask: Ask, world: World, found: Keys) -> None:
    """Compare with the endpoint and with ``SerializedDAG.clear`` as they are."""
    answer = ask_airflow(lambda: rest(ask, world, DBDagBag(load_op_links=False)))
    if answer is None:
        return
    assert found == {key for key in answer if key[1] not in ask.exclude}
    if not (ask.upstream or ask.downstream or ask.past or ask.future or ask.map_index is not None):
        dag = world.dags[_version_of_airflow(ask, world)]
        assert ask_airflow(lambda: clear_dry_run(ask, world, dag)) in (found, None)


def check(ask: Ask, world: World) -> None:
    """Compare the plan with Airflow, and with running work left out."""
    say(f"asked: {ask}")
    found = planned(ask, world)
    expected = ask_airflow(lambda: decided(ask, world))
    if expected is None:
        return
    assert found == expected
    if undisputed(ask, world):
        check_undisputed(ask, world, found)
    running = {
        (ti.run_id, ti.task_id, ti.map_index)
        for run in world.runs.values()
        for ti in task_instances(run, session=world.session)
        if ti.state in RUNNING_STATES
    }
    if found & running:
        assert planned(ask, world, "leave_out") == found - running


@st.composite
def cases(draw: st.DrawFn) -> tuple[History, list[Ask]]:
    """Draw a history and a few selections of it."""
    history = draw(histories())
    return history, draw(st.lists(asks(history), min_size=3, max_size=3))


@settings(
    max_examples=options.examples(40),
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(case=cases())
def test_the_plan_is_what_airflow_would_clear(session, case):
    history, asked = case
    world = build(history, session)
    say(f"history: {history}")
    for ask in asked:
        check(ask, world)
        session.rollback()


# --- The lines of the table, one by one ---------------------------------------------------------------------

CHAIN = Shape(tuple(Node(name) for name in ("a", "b", "c", "d")), edges=frozenset({(0, 1), (1, 2), (0, 3)}))
SHORTER = Shape((Node("a"), Node("c"), Node("new")), edges=frozenset({(0, 1), (1, 2)}))
MAPPED = Shape(
    (
        Node("source"),
        Node("first", group=0),
        Node("second", group=0),
        Node("prepare", group=0, role="setup"),
        Node("after"),
        Node("literal", mapped=2),
        Node("over", mapped=("over", 0)),
    ),
    groups=(Group("g", mapped=("over", 0)),),
    edges=frozenset({(1, 2), (1, 3), (2, 4), (2, 5), (2, 6), (3, 4)}),
)
IN_AND_OUT = Shape(
    (Node("first", group=0), Node("between"), Node("last", group=0)),
    groups=(Group("g"),),
    edges=frozenset({(0, 1), (1, 2)}),
)
IN_A_MAPPED_GROUP = Shape(
    (Node("source"), Node("outer", group=0), Node("inner", group=1)),
    groups=(Group("g", mapped=("over", 0)), Group("h", parent=0)),
    edges=frozenset({(1, 2)}),
)
NESTED_MAPPED_GROUPS = Shape(
    (Node("t0"), Node("t1", group=1), Node("t2", group=2)),
    groups=(Group("g0", mapped=("over", 0)), Group("g1", mapped=("over", 0)), Group("g2", parent=0)),
)
SET_UP = Shape(
    (
        Node("up", role="setup"),
        Node("inner", role="setup"),
        Node("work"),
        Node("other"),
        Node("down", role="teardown"),
        Node("lower", role="teardown"),
    ),
    edges=frozenset({(0, 1), (0, 4), (1, 2), (1, 5), (2, 3), (2, 5), (3, 4), (5, 4)}),
)

DAYS = tuple(Run(f"r{number}", number, palette=("success", "failed")) for number in range(3))
UNDATED = Run("r3", None)
OLD = Run("r0", 0, bundle_version="b1")
MIXED = (OLD, Run("r1", 1), Run("r2", 2, versionless=True, bundle_version="b1"), Run("r3", 3, version=1))
EXPANDED = (Run("r0", 0, lengths=3), Run("r1", 1, lengths=None), Run("r2", 2, lengths=1))

LINES = {
    "upstream and downstream of the matched task only": (
        History((CHAIN,), DAYS),
        [
            Ask(("b",), runs=("r1",), upstream=True, downstream=True),
            Ask(("b",), first=0, last=1, upstream=True, downstream=True),
        ],
    ),
    "the DAG version that the run will use": (
        History((CHAIN, SHORTER), MIXED),
        [
            Ask(("a", "b"), first=0, last=3, downstream=True),
            Ask(("a",), runs=("r0",), downstream=True),
            Ask(("a",), runs=("r0",), downstream=True, on_latest=True),
            Ask(("b",), runs=("r1",)),
            Ask(None, first=0, last=3),
        ],
    ),
    "past and future": (
        History((CHAIN,), (*DAYS, UNDATED)),
        [
            Ask(("a",), runs=("r1",), past=True),
            Ask(("a",), runs=("r1",), future=True),
            Ask(("a",), runs=("r1",), past=True, future=True),
            Ask(("a",), first=1, last=1, past=True, future=True),
            Ask(("a",), runs=("r3",), past=True),
            Ask(("a",), runs=("r3",)),
            Ask(("a",), first=1, last=3, date_field="run_after"),
        ],
    ),
    "runs and dates, run_type and run_state": (
        History((CHAIN,), (*DAYS[:2], Run("r2", 2, state="failed", run_type="scheduled"))),
        [
            Ask(("a",), runs=("r0", "r2"), first=1),
            Ask(("a",), runs=("r0", "r2"), last=2, run_type=("scheduled",)),
            Ask(("a",), first=1, past=True, run_state=("success",)),
        ],
    ),
    "setups and teardowns": (
        History((SET_UP,), DAYS),
        [Ask((task,), first=0, last=1) for task in ("up", "work", "other", "down")]
        + [Ask((task,), runs=("r1",), upstream=True) for task in ("inner", "work", "other")]
        + [Ask(("work",), first=0, downstream=True, exclude=("down", "up"))],
    ),
    "map indexes": (
        History((MAPPED,), EXPANDED),
        [
            Ask(("g.first",), 1, ("r0",), downstream=True),
            Ask(("g.second",), 0, ("r0",), upstream=True, downstream=True),
            Ask(("g.prepare",), 0, first=0, last=2, downstream=True),
            Ask(("over",), 1, first=0, last=2, upstream=True),
            Ask(("source",), -1, ("r2",), downstream=True),
        ],
    ),
    "a map index in a run not yet expanded": (
        History((MAPPED,), EXPANDED),
        [
            Ask(("g.first",), -1, ("r1",), downstream=True),
            Ask(("g.first",), 0, ("r1",), downstream=True),
            Ask(("g.second",), -1, ("r1",), upstream=True, downstream=True),
            Ask(("over",), -1, ("r1",), upstream=True),
        ],
    ),
    "a path that leaves a task group and comes back": (
        History((IN_AND_OUT,), DAYS),
        [Ask(("between",), first=0, last=1, downstream=True), Ask(None, runs=("r0",))],
    ),
}


@pytest.mark.parametrize("line", LINES)
def test_lines_of_the_table(session, line):
    history, asked = LINES[line]
    world = build(history, session)
    for ask in asked:
        check(ask, world)
        session.rollback()


def test_failure_of_airflow_itself_is_no_answer(session):
    """Airflow's ``partial_subset`` takes ``g0.g2`` out of the DAG itself, and after some copies it fails."""
    world = build(History((NESTED_MAPPED_GROUPS,), DAYS[:1]), session)
    (dag,) = world.dags.values()
    ask = Ask(("g0.g2.t2",), runs=("r0",), downstream=True)
    with pytest.raises(ReferenceError):  # noqa: PT012
        for upstream, downstream in itertools.product((True, False), repeat=2):
            for task_id in ["t0", "", "", "g0.g2.t2"] * 4:
                dag.partial_subset([task_id], include_upstream=upstream, include_downstream=downstream)
    assert ask_airflow(lambda: rest(ask, world, OneVersion(dag))) is None
    check(ask, world)


def test_upstream_and_downstream_together_do_not_widen_each_other(session):
    world = build(History((CHAIN,), DAYS[:1]), session)
    ask = Ask(("b",), runs=("r0",), upstream=True, downstream=True)
    assert planned(ask, world) == {("r0", task, -1) for task in ("a", "b", "c")}


def test_relatives_do_not_cost_a_dag_its_task_groups(session):
    """Airflow's own way to find them takes ``g.h`` out of the DAG; it is needed again in the same preview."""
    moving = Run("r0", 0, versionless=True, lengths=2)
    world = build(History((IN_A_MAPPED_GROUP,), (moving,)), session)
    ask = Ask(("source",), -1, ("r0",), downstream=True)
    inside = {("r0", task, index) for task in ("g.outer", "g.h.inner") for index in (0, 1)}
    assert planned(ask, world) == planned(ask, world) == {("r0", "source", -1)} | inside
    assert planned(Ask(("g.outer",), 1, ("r0",), downstream=True), world) == {
        ("r0", "g.outer", 1),
        ("r0", "g.h.inner", 1),
    }


def test_relatives_of_an_unexpanded_map_index(session):
    world = build(History((MAPPED,), EXPANDED[:2]), session)
    ask = Ask(("g.first",), -1, ("r1",), downstream=True)
    assert {key[1:] for key in planned(ask, world)} == {
        ("g.first", -1),
        ("g.second", -1),
        ("g.prepare", -1),
        ("after", -1),
        ("literal", 0),
        ("literal", 1),
        ("over", -1),
    }
