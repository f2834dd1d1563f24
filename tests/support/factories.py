"""DAGs, dag runs and task instances as Airflow itself writes them.

Differences between the Airflow versions that the tests cover stay in this file. Every function commits its
session, so that other sessions and threads see what it wrote, unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from airflow.dag_processing.collection import update_dag_parsing_results_in_db
from airflow.models.dag import DagModel
from airflow.models.dag_version import DagVersion
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.deadline import Deadline
from airflow.models.deadline_alert import DeadlineAlert
from airflow.models.hitl import HITLDetail
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance, TaskInstanceNote
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.taskmap import TaskMap
from airflow.models.taskreschedule import TaskReschedule
from airflow.models.trigger import Trigger
from airflow.models.xcom import XComModel
from airflow.sdk import DAG
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.serialization.definitions.mappedoperator import SerializedMappedOperator
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.timetables.base import DataInterval
from airflow.utils.state import DagRunState, State, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import func, insert, select
from sqlalchemy.orm import object_session

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


def leave_trail(ti: TaskInstance, trail: str, *, session: Session) -> None:
    """Leave in the database what the life of a task instance may have left beside its own row.

    There may be many to leave, so the caller commits.
    """
    _TRAILS[trail](ti, session)


def advance(
    dag_id: str, run_id: str, task_id: str, to: str, *, session: Session, map_index: int = -1
) -> None:
    """Take a cleared task instance on as the scheduler and a worker do.

    ``scheduled``, ``queued``, ``running``, ``success``, ``skipped`` and ``removed`` are states on the way;
    ``rescheduled``, ``deferred`` and ``triggered`` ones of a task that waits (the last is back in scheduled);
    ``orphaned`` was queued by a scheduler that died, and has no state again.
    """
    ti = session.scalars(
        select(TaskInstance).where(
            TaskInstance.dag_id == dag_id,
            TaskInstance.run_id == run_id,
            TaskInstance.task_id == task_id,
            TaskInstance.map_index == map_index,
        )
    ).one()
    for step in _WAYS[to]:
        _STEPS[step](ti, session)
        session.flush()
    session.commit()


def hitl_detail(
    ti: TaskInstance, *, session: Session, answered: bool = False, options: Sequence[str] = ("yes", "no")
) -> None:
    """Ask a person something on behalf of a task instance; the caller commits."""
    detail = HITLDetail(ti_id=ti.id, options=list(options), subject="Load it?", params={}, multiple=False)
    if answered:
        detail.responded_at = FIRST_DATE + timedelta(minutes=3)
        detail.responded_by = {"id": "7", "name": "Ann"}
        detail.chosen_options = [options[0]]
        detail.params_input = {"reason": "looks right"}
    session.merge(detail)
    session.flush()


def add_deadline(run: DagRun, *, session: Session, missed: bool = False) -> Deadline:
    """Give a run a deadline an hour after it was queued."""
    serialized_id = session.scalar(
        select(SerializedDagModel.id).where(SerializedDagModel.dag_id == run.dag_id)
    )
    callback = AsyncCallback("tests.support.factories.nobody")
    alert = DeadlineAlert(
        serialized_dag_id=serialized_id,
        reference={"reference_type": "DagRunQueuedAtDeadline"},
        interval=3600,
        callback_def=callback.serialize(),
    )
    session.add(alert)
    session.flush()
    queued_at: datetime = run.queued_at or run.run_after
    deadline = Deadline(
        deadline_time=queued_at + timedelta(hours=1),
        callback=callback,
        dagrun_id=run.id,
        deadline_alert_id=alert.id,
    )
    deadline.missed = missed
    session.add(deadline)
    session.commit()
    return deadline


async def nobody() -> None:
    """Do nothing when a deadline is missed."""


def _leave_note(ti: TaskInstance, session: Session) -> None:
    ti.task_instance_note = TaskInstanceNote(content=f"about {ti.task_id}", user_id="7")


def _leave_xcom(ti: TaskInstance, session: Session) -> None:
    XComModel.set(
        key="found",
        value={"rows": 3},
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=ti.map_index,
        session=session,
    )


def _leave_rendered_fields(ti: TaskInstance, session: Session) -> None:
    key = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}
    session.execute(
        insert(RenderedTaskInstanceFields).values(**key, rendered_fields={"value": "1"}, k8s_pod_yaml=None)
    )


def _leave_reschedules(ti: TaskInstance, session: Session) -> None:
    for minutes in (1, 2):
        start = FIRST_DATE + timedelta(minutes=minutes)
        session.add(TaskReschedule(ti.id, start, start + timedelta(seconds=5), start + timedelta(minutes=1)))


def _leave_history(ti: TaskInstance, try_number: int) -> None:
    session = object_session(ti)
    assert session is not None
    old = TaskInstanceHistory(ti, state="failed")
    old.task_instance_id = uuid4()
    old.try_number = try_number
    session.add(old)


def _leave_trigger(ti: TaskInstance, session: Session) -> None:
    trigger = Trigger(classpath="airflow.triggers.testing.SuccessTrigger", kwargs={})
    session.add(trigger)
    session.flush()
    ti.trigger_id = trigger.id


def _leave_resumption(ti: TaskInstance, session: Session) -> None:
    ti.next_method = "execute_complete"
    ti.next_kwargs = {"event": {"rows": 3}}


_TRAILS: dict[str, Callable[[TaskInstance, Session], object]] = {
    "note": _leave_note,
    "hitl": lambda ti, session: hitl_detail(ti, session=session),
    "answered": lambda ti, session: hitl_detail(ti, session=session, answered=True),
    "xcom": _leave_xcom,
    "rendered": _leave_rendered_fields,
    "rescheduled": _leave_reschedules,
    "another_try": lambda ti, session: _leave_history(ti, ti.try_number + 7),
    "same_try": lambda ti, session: _leave_history(ti, ti.try_number),
    "trigger": _leave_trigger,
    "resumes": _leave_resumption,
    "queued_once": lambda ti, session: setattr(ti, "queued_dttm", FIRST_DATE),
    "never_tried": lambda ti, session: setattr(ti, "try_number", 0),
    "without_version": lambda ti, session: setattr(ti, "dag_version_id", None),
}


def _schedule(ti: TaskInstance, session: Session) -> None:
    if ti.state != TaskInstanceState.UP_FOR_RESCHEDULE:
        ti.try_number += 1
    ti.state, ti.scheduled_dttm = TaskInstanceState.SCHEDULED, _now()


def _queue(ti: TaskInstance, session: Session) -> None:
    ti.state, ti.queued_dttm, ti.queued_by_job_id = TaskInstanceState.QUEUED, _now(), 1


def _start(ti: TaskInstance, session: Session) -> None:
    ti.state, ti.start_date, ti.end_date = TaskInstanceState.RUNNING, _now(), None
    ti.hostname, ti.pid, ti.last_heartbeat_at = "worker", 7, _now()


def _end(ti: TaskInstance, session: Session) -> None:
    ti.state, ti.end_date, ti.duration = TaskInstanceState.SUCCESS, _now(), 1.0


def _skip(ti: TaskInstance, session: Session) -> None:
    ti.state, ti.end_date = TaskInstanceState.SKIPPED, _now()


def _reschedule(ti: TaskInstance, session: Session) -> None:
    ti.state, ti.end_date = TaskInstanceState.UP_FOR_RESCHEDULE, _now()
    session.add(TaskReschedule(ti.id, _now(), _now(), _now()))


def _defer(ti: TaskInstance, session: Session) -> None:
    _leave_trigger(ti, session)
    _leave_resumption(ti, session)
    ti.state = TaskInstanceState.DEFERRED


def _trigger(ti: TaskInstance, session: Session) -> None:
    ti.state, ti.trigger_id, ti.scheduled_dttm = TaskInstanceState.SCHEDULED, None, _now()


def _orphan(ti: TaskInstance, session: Session) -> None:
    ti.state, ti.queued_by_job_id, ti.external_executor_id = None, None, None


def _now() -> datetime:
    return datetime.now(timezone.utc)


_STEPS: dict[str, Callable[[TaskInstance, Session], object]] = {
    "schedule": _schedule,
    "queue": _queue,
    "start": _start,
    "end": _end,
    "skip": _skip,
    "remove": lambda ti, session: setattr(ti, "state", TaskInstanceState.REMOVED),
    "reschedule": _reschedule,
    "defer": _defer,
    "trigger": _trigger,
    "orphan": _orphan,
}
_WAYS = {
    "scheduled": ("schedule",),
    "queued": ("schedule", "queue"),
    "running": ("schedule", "queue", "start"),
    "success": ("schedule", "queue", "start", "end"),
    "skipped": ("skip",),
    "removed": ("remove",),
    "up_for_reschedule": ("schedule", "queue", "start", "reschedule"),
    "rescheduled": ("schedule", "queue", "start", "reschedule", "schedule"),
    "deferred": ("schedule", "queue", "start", "defer"),
    "triggered": ("schedule", "queue", "start", "defer", "trigger"),
    "orphaned": ("schedule", "queue", "orphan"),
}


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


__all__ = [
    "FactoryError",
    "add_deadline",
    "advance",
    "expand",
    "hitl_detail",
    "leave_trail",
    "make_run",
    "serialized",
    "set_states",
    "store_dag",
    "task_instances",
]
