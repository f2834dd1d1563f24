"""DAGs, dag runs and task instances as Airflow itself writes them.

Differences between the Airflow versions that the tests cover stay in this file. Every function commits its
session, so that other sessions and threads see what it wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal

from airflow.dag_processing.collection import update_dag_parsing_results_in_db
from airflow.models.dag import DagModel
from airflow.models.dag_version import DagVersion
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskmap import TaskMap
from airflow.models.xcom import XComModel
from airflow.sdk import DAG
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.serialization.definitions.mappedoperator import SerializedMappedOperator
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.timetables.base import DataInterval
from airflow.utils.state import DagRunState, State, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import func, select

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from sqlalchemy.orm import Session

BUNDLE_NAME = "tests"
FIRST_DATE = datetime(2026, 1, 1, tzinfo=timezone.utc)

AnyDag = DAG | SerializedDAG | str
TaskKey = str | tuple[str, int]

_TRIGGERED_BY = {
    DagRunType.MANUAL: DagRunTriggeredByType.REST_API,
    DagRunType.SCHEDULED: DagRunTriggeredByType.TIMETABLE,
    DagRunType.BACKFILL_JOB: DagRunTriggeredByType.BACKFILL,
    DagRunType.ASSET_TRIGGERED: DagRunTriggeredByType.ASSET,
}
# What Airflow leaves on a task instance in this state: only the scheduler's queueing raises try_number.
_NEVER_TRIED = {None, TaskInstanceState.SKIPPED, TaskInstanceState.UPSTREAM_FAILED, TaskInstanceState.REMOVED}
_NOT_STARTED = {None, TaskInstanceState.SCHEDULED, TaskInstanceState.QUEUED, TaskInstanceState.REMOVED}
_ENDED = {
    TaskInstanceState.SUCCESS,
    TaskInstanceState.FAILED,
    TaskInstanceState.SKIPPED,
    TaskInstanceState.UPSTREAM_FAILED,
    TaskInstanceState.UP_FOR_RETRY,
    TaskInstanceState.UP_FOR_RESCHEDULE,
}


class FactoryError(AssertionError):
    """The database is not in the state that the factory was asked to build on."""


def store_dag(
    dag: DAG,
    *,
    session: Session,
    bundle_version: str | None = None,
    new_version: bool = False,
    is_paused: bool = False,
) -> SerializedDAG:
    """Write ``dag`` to the database as the dag processor does, and return it as the scheduler reads it.

    Airflow rewrites the latest version of a DAG in place as long as no task instance refers to it. With
    ``new_version`` the DAG's ``doc_md`` is stamped so that its hash differs, and it is an error if Airflow
    makes no new version nevertheless.
    """
    session.merge(DagBundleModel(name=BUNDLE_NAME, version=bundle_version))
    session.flush()
    versions = _count_versions(dag.dag_id, session)
    if new_version:
        dag.doc_md = f"{dag.doc_md or ''}\nversion {versions + 1}"
    import_errors: dict[tuple[str, str], str] = {}
    update_dag_parsing_results_in_db(
        BUNDLE_NAME,
        bundle_version,
        [LazyDeserializedDAG.from_dag(dag)],
        import_errors,
        parse_duration=None,
        warnings=set(),
        session=session,
    )
    if import_errors:
        raise FactoryError("\n".join(import_errors.values()))
    if new_version and _count_versions(dag.dag_id, session) == versions:
        raise FactoryError(f"no new version of {dag.dag_id}: no task instance refers to the latest one yet")
    session.get_one(DagModel, dag.dag_id).is_paused = is_paused
    session.commit()
    return serialized(dag, session=session)


def serialized(dag: AnyDag, *, session: Session) -> SerializedDAG:
    """Return the latest stored version of ``dag``."""
    dag_id = dag if isinstance(dag, str) else dag.dag_id
    stored = SerializedDagModel.get_dag(dag_id, session=session)
    if stored is None:
        raise FactoryError(f"{dag_id} is not stored")
    return stored


def make_run(
    dag: AnyDag,
    *,
    session: Session,
    run_id: str | None = None,
    logical_date: datetime | Literal["next"] | None = "next",
    run_after: datetime | None = None,
    run_type: str = "manual",
    state: str = "success",
    task_state: str | None = None,
    bundle_version: str | None = None,
    without_version: bool = False,
    conf: dict[str, Any] | None = None,
) -> DagRun:
    """Create a dag run of the latest version of ``dag`` with its task instances, through Airflow's own code.

    ``logical_date`` is by default the day after that of the DAG's last run (none for an asset-triggered run);
    ``None`` means a run without one. The task instances have no state unless ``task_state`` is given. A
    finished run has a start and an end date. ``without_version`` makes the run and its task instances like
    those that Airflow 2 left behind.
    """
    serialized_dag = serialized(dag, session=session)
    kind = DagRunType(run_type)
    if logical_date == "next":
        logical_date = (
            None if kind == DagRunType.ASSET_TRIGGERED else _next_date(serialized_dag.dag_id, session)
        )
    run_after = run_after or logical_date or _next_run_after(serialized_dag.dag_id, session)
    run = serialized_dag.create_dagrun(
        run_id=run_id
        or DagRun.generate_run_id(run_type=kind, logical_date=logical_date, run_after=run_after),
        logical_date=logical_date,
        data_interval=DataInterval.exact(logical_date) if logical_date else None,
        run_after=run_after,
        run_type=kind,
        triggered_by=_TRIGGERED_BY.get(kind, DagRunTriggeredByType.TEST),
        state=DagRunState.QUEUED,
        conf=conf,
        session=session,
    )
    if bundle_version is not None:
        run.bundle_version = bundle_version
    if without_version:
        run.created_dag_version_id = None
        for ti in task_instances(run, session=session):
            ti.dag_version_id = None
    _set_run_state(run, DagRunState(state))
    session.commit()
    if task_state is not None:
        set_states(
            run, {ti.task_id: task_state for ti in task_instances(run, session=session)}, session=session
        )
    return run


def task_instances(run: DagRun, *, session: Session) -> list[TaskInstance]:
    """Return the task instances of ``run`` by task id and map index."""
    query = select(TaskInstance).where(TaskInstance.dag_id == run.dag_id, TaskInstance.run_id == run.run_id)
    return list(session.scalars(query.order_by(TaskInstance.task_id, TaskInstance.map_index)))


def set_states(
    run: DagRun, states: Mapping[TaskKey, str | None], *, session: Session, **columns: Any
) -> list[TaskInstance]:
    """Put task instances of ``run`` into states, with what Airflow would have written on the way there.

    A key is a task id, for all its map indexes, or ``(task_id, map_index)``. ``columns`` (``try_number``,
    ``start_date``, ``end_date``, …) win over the defaults.
    """
    changed = []
    left = set(states)
    for ti in task_instances(run, session=session):
        for key in ((ti.task_id, ti.map_index), ti.task_id):
            if key in states:
                _set_task_state(ti, run, states[key], columns)
                changed.append(ti)
                left.discard(key)
                break
    if left:
        raise FactoryError(f"{run} has no task instances {left}")
    session.commit()
    return changed


def expand(
    run: DagRun, node_id: str, length: int | Mapping[str, int], *, session: Session
) -> list[TaskInstance]:
    """Expand a mapped task, or every task of a mapped task group, as the scheduler does.

    ``length`` is how much each upstream task that is mapped over returned; a mapping gives it by task id.
    Mapping over literals needs no call: Airflow expands those when it creates the run.
    """
    dag = _dag_of_run(run, session)
    expanded = []
    for task in _tasks_of(dag, node_id):
        unexpanded = _task_instance(run, task.task_id, -1, session)
        if unexpanded is None or unexpanded.state in State.finished:
            raise FactoryError(f"{task.task_id} of {run} has no unfinished task instance with map_index -1")
        for upstream in _mapped_over(task):
            upstream_length = length if isinstance(length, int) else length[upstream.task_id]
            _return_list(run, upstream, upstream_length, session)
        tis, _ = TaskMap.expand_mapped_task(task, run.run_id, session=session)
        expanded += tis
    session.commit()
    return sorted(expanded, key=lambda ti: (ti.task_id, ti.map_index))


def _count_versions(dag_id: str, session: Session) -> int:
    query = select(func.count()).select_from(DagVersion).where(DagVersion.dag_id == dag_id)
    return session.scalar(query) or 0


def _next_date(dag_id: str, session: Session) -> datetime:
    last = session.scalar(select(func.max(DagRun.logical_date)).where(DagRun.dag_id == dag_id))
    return last + timedelta(days=1) if last else FIRST_DATE


def _next_run_after(dag_id: str, session: Session) -> datetime:
    last = session.scalar(select(func.max(DagRun.run_after)).where(DagRun.dag_id == dag_id))
    return last + timedelta(days=1) if last else FIRST_DATE


def _set_run_state(run: DagRun, state: DagRunState) -> None:
    # Not DagRun.set_state, which would date the run by the clock.
    run._state = state
    run.queued_at = run.run_after
    run.start_date = None if state == DagRunState.QUEUED else run.run_after + timedelta(seconds=1)
    run.end_date = run.run_after + timedelta(hours=1) if state in State.finished_dr_states else None


def _set_task_state(ti: TaskInstance, run: DagRun, state: str | None, columns: Mapping[str, Any]) -> None:
    new = None if state is None else TaskInstanceState(state)
    ti.state = new
    ti.try_number = max(ti.try_number, 0 if new in _NEVER_TRIED else 1)
    ti.start_date = None if new in _NOT_STARTED else run.run_after + timedelta(minutes=1)
    ti.end_date = ti.start_date + timedelta(minutes=1) if ti.start_date and new in _ENDED else None
    for name, value in columns.items():
        if not hasattr(TaskInstance, name):
            raise FactoryError(f"TaskInstance has no column {name}")
        setattr(ti, name, value)
    ti.duration = (ti.end_date - ti.start_date).total_seconds() if ti.start_date and ti.end_date else None


def _task_instance(run: DagRun, task_id: str, map_index: int, session: Session) -> TaskInstance | None:
    return next(
        (
            ti
            for ti in task_instances(run, session=session)
            if (ti.task_id, ti.map_index) == (task_id, map_index)
        ),
        None,
    )


def _dag_of_run(run: DagRun, session: Session) -> SerializedDAG:
    version_id: UUID | None = run.created_dag_version_id
    query = select(SerializedDagModel).where(SerializedDagModel.dag_version_id == version_id)
    stored = session.scalar(query) if version_id else None
    return stored.dag if stored else serialized(run.dag_id, session=session)


def _tasks_of(dag: SerializedDAG, node_id: str) -> list[Any]:
    group = dag.task_group_dict.get(node_id)
    if group is None:
        return [dag.get_task(node_id)]
    return sorted(group.iter_tasks(), key=lambda task: task.task_id)


def _mapped_over(task: Any) -> Iterator[Any]:
    """Yield the upstream tasks whose results decide into how many task instances ``task`` expands."""
    if isinstance(task, SerializedMappedOperator):
        yield from task.iter_mapped_dependencies()
    for group in task.iter_mapped_task_groups():
        yield from group.iter_mapped_dependencies()


def _return_list(run: DagRun, task: Any, length: int, session: Session) -> None:
    """Leave in the database what a task that returned a list of ``length`` elements leaves there."""
    key = {"dag_id": run.dag_id, "run_id": run.run_id, "task_id": task.task_id}
    if isinstance(task, SerializedMappedOperator) or task.get_closest_mapped_task_group():
        for map_index in range(length):
            XComModel.set(key="return_value", value=map_index, map_index=map_index, session=session, **key)
        return
    session.merge(TaskMap(**key, map_index=-1, length=length, keys=None))
    session.flush()


__all__ = ["FactoryError", "expand", "make_run", "serialized", "set_states", "store_dag", "task_instances"]
