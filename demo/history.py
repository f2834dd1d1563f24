"""Writes 30 days of run history straight into the metadata DB, as scheduler and workers would have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from airflow.models.asset import AssetEvent, AssetModel, association_table
from airflow.models.dag import DagModel
from airflow.models.dag_version import DagVersion
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance, uuid7
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.taskmap import TaskMap
from airflow.models.xcom import XComModel
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.timetables.base import DataInterval
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from simulation import Outcome, RunSimulation, Try
from sqlalchemy import insert, select
from sqlalchemy.orm import Session
from stories import DAYS, OUTAGE, SETTLED, STORIES, Cause, DagStory

#: What a task instance takes over from its task; Airflow works these out when it makes one.
FROM_TASK = (
    "pool",
    "pool_slots",
    "queue",
    "priority_weight",
    "operator",
    "custom_operator_name",
    "executor",
    "executor_config",
    "max_tries",
    "unixname",
)


@dataclass(frozen=True)
class PlannedRun:
    """A dag run to be made up."""

    run_type: DagRunType
    run_after: datetime
    triggered_by: DagRunTriggeredByType
    logical_date: datetime | None = None
    data_interval: DataInterval | None = None
    user: str | None = None
    note: str | None = None
    asset_event_id: int | None = None


@dataclass
class History:
    """Collects rows by table over all DAGs."""

    session: Session
    now: datetime
    #: (dag_id, task_id) → when it succeeded, in which run.
    successes: dict[tuple[str, str], list[tuple[datetime, DagRun]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    rows: dict[Any, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def write(self) -> int:
        """Write the history of every DAG that has a story; return how many task instances it has."""
        for story in STORIES:
            self._write_dag(story)
        for table in (TaskInstance, TaskInstanceHistory, XComModel, TaskMap, association_table):
            if self.rows[table]:
                self.session.execute(insert(_table(table)), self.rows[table])
        return len(self.rows[TaskInstance])

    def _write_dag(self, story: DagStory) -> None:
        dag = SerializedDagModel.get_dag(story.dag_id, session=self.session)
        version = DagVersion.get_latest_version(story.dag_id, session=self.session)
        if dag is None or version is None:
            raise RuntimeError(f"DAG {story.dag_id} could not be loaded: see the import errors above")
        if set(dag.task_dict) != set(story.tasks):
            raise RuntimeError(f"stories.py does not tell of the tasks that {story.dag_id} has")
        writer = _DagWriter(self, dag, story, version)
        newest = writer.write(sorted(self._planned(dag, story), key=lambda planned: planned.run_after))
        dag_model = self.session.scalars(select(DagModel).where(DagModel.dag_id == story.dag_id)).one()
        dag_model.calculate_dagrun_date_fields(dag, reference_run=newest)

    def _planned(self, dag: SerializedDAG, story: DagStory) -> Iterator[PlannedRun]:
        if story.cause is not None:
            yield from self._caused_runs(dag, story.cause)
        else:
            yield from self._scheduled_runs(dag, story)
        for number, hours_ago in enumerate(story.manual_hours_ago):
            run_after = self.now - timedelta(hours=hours_ago)
            yield PlannedRun(
                DagRunType.MANUAL,
                run_after,
                DagRunTriggeredByType.UI,
                logical_date=run_after,
                data_interval=dag.timetable.infer_manual_data_interval(run_after=run_after),
                user="operator" if "finance" in dag.tags else "admin",
                note="Late orders came in, once more" if number == 0 else None,
            )

    def _scheduled_runs(self, dag: SerializedDAG, story: DagStory) -> Iterator[PlannedRun]:
        latest = min(self.now - SETTLED, self.now - timedelta(hours=story.stopped_hours_ago))
        infos = list(dag.iter_dagrun_infos_between(self.now - timedelta(days=DAYS), self.now))
        if story.newest_run_is_live:
            infos = infos[:-1]
        for info in infos:
            if info.run_after <= latest and not OUTAGE.covers(info.run_after, self.now):
                yield PlannedRun(
                    DagRunType.SCHEDULED,
                    info.run_after,
                    DagRunTriggeredByType.TIMETABLE,
                    logical_date=info.logical_date,
                    data_interval=info.data_interval,
                )

    def _caused_runs(self, dag: SerializedDAG, cause: Cause) -> Iterator[PlannedRun]:
        successes = self.successes[cause.dag_id, cause.task_id]
        if cause.asset_uri is not None:
            for event in self._asset_events(cause, cause.asset_uri, successes):
                yield PlannedRun(
                    DagRunType.ASSET_TRIGGERED,
                    event.timestamp + timedelta(seconds=2),
                    DagRunTriggeredByType.ASSET,
                    asset_event_id=event.id,
                )
            return
        for moment, _ in successes:
            yield PlannedRun(
                DagRunType.OPERATOR_TRIGGERED,
                moment,
                DagRunTriggeredByType.OPERATOR,
                logical_date=moment,
                data_interval=dag.timetable.infer_manual_data_interval(run_after=moment),
            )

    def _asset_events(
        self, cause: Cause, uri: str, successes: list[tuple[datetime, DagRun]]
    ) -> list[AssetEvent]:
        asset_id = self.session.scalars(select(AssetModel.id).where(AssetModel.uri == uri)).one()
        events = [
            AssetEvent(
                asset_id=asset_id,
                source_dag_id=cause.dag_id,
                source_task_id=cause.task_id,
                source_run_id=run.run_id,
                source_map_index=-1,
                timestamp=moment,
            )
            for moment, run in successes
        ]
        self.session.add_all(events)
        self.session.flush()
        return events


@dataclass
class _DagWriter:
    """Turns the runs of one DAG into rows."""

    history: History
    dag: SerializedDAG
    story: DagStory
    version: DagVersion

    def write(self, planned_runs: list[PlannedRun]) -> DagRun | None:
        """Add the dag runs to the session and collect the rest; return the newest scheduled run."""
        version_id = self.version.id
        from_task = {task_id: self._columns_from_task(task_id, version_id) for task_id in self.dag.task_dict}
        played = [(planned, *self._play(planned)) for planned in planned_runs]
        # XCom rows want the dag runs' ids, which the database gives out.
        self.history.session.add_all(run for _, run, _ in played)
        self.history.session.flush()
        newest = None
        for planned, run, outcomes in played:
            for outcome in outcomes:
                self._collect(run, outcome, from_task[outcome.task_id])
            if planned.asset_event_id is not None:
                self.history.rows[association_table].append(
                    {"dag_run_id": run.id, "event_id": planned.asset_event_id}
                )
            if planned.run_type == DagRunType.SCHEDULED:
                newest = run
        return newest

    def _play(self, planned: PlannedRun) -> tuple[DagRun, list[Outcome]]:
        run_id = self._run_id(planned)
        # Timetables give pendulum's datetimes, whose arithmetic would take most of the time.
        run_after = datetime.fromtimestamp(planned.run_after.timestamp(), tz=timezone.utc)
        started = run_after + timedelta(seconds=1.2)
        simulation = RunSimulation(
            self.story,
            self.dag.task_dict,
            run_id,
            planned.logical_date,
            started,
            self.history.now,
            self._waiting_in_vain(planned),
        )
        outcomes = simulation.play()
        run = DagRun(
            dag_id=self.dag.dag_id,
            run_id=run_id,
            run_type=planned.run_type,
            logical_date=planned.logical_date,
            data_interval=planned.data_interval,
            run_after=planned.run_after,
            queued_at=planned.run_after + timedelta(seconds=0.4),
            start_date=started,
            triggered_by=planned.triggered_by,
            triggering_user_name=planned.user,
            note=planned.note,
        )
        run.end_date = run.last_scheduling_decision = max(outcome.ended for outcome in outcomes)
        run.created_at = planned.run_after
        run._state = "failed" if simulation.failed() else "success"
        run.created_dag_version_id = self.version.id
        return run, outcomes

    def _waiting_in_vain(self, planned: PlannedRun) -> frozenset[str]:
        return frozenset(
            sensor
            for sensor, wait in self.story.waits.items()
            if planned.logical_date is None
            or not any(
                run.logical_date == planned.logical_date - wait.delta
                for _, run in self.history.successes[wait.dag_id, wait.task_id]
            )
        )

    def _run_id(self, planned: PlannedRun) -> str:
        if planned.run_type == DagRunType.SCHEDULED:
            return self.dag.timetable.generate_run_id(
                run_type=planned.run_type, run_after=planned.run_after, data_interval=planned.data_interval
            )
        # A TriggerDagRun names its runs as if they were manual ones.
        named_as = (
            DagRunType.MANUAL if planned.run_type == DagRunType.OPERATOR_TRIGGERED else planned.run_type
        )
        return DagRun.generate_run_id(
            run_type=named_as, logical_date=planned.logical_date, run_after=planned.run_after
        )

    def _columns_from_task(self, task_id: str, version_id: UUID) -> dict[str, Any]:
        template = TaskInstance(self.dag.get_task(task_id), dag_version_id=version_id)
        return {name: getattr(template, name) for name in FROM_TASK} | {
            "dag_id": self.dag.dag_id,
            "task_id": task_id,
            "dag_version_id": version_id,
        }

    def _collect(self, run: DagRun, outcome: Outcome, from_task: dict[str, Any]) -> None:
        rows = self.history.rows
        key = {"run_id": run.run_id, "map_index": outcome.map_index}
        carrier = dict(run.context_carrier)
        task_instance = from_task | key | {"rendered_map_index": outcome.label, "context_carrier": carrier}
        *earlier, last = outcome.tries
        rows[TaskInstance].append(task_instance | _times(last) | {"id": uuid7(), "updated_at": last.ended})
        rows[TaskInstanceHistory].extend(
            task_instance | _times(a_try) | {"task_instance_id": uuid7()} for a_try in earlier
        )
        key |= {"dag_id": self.dag.dag_id, "task_id": outcome.task_id}
        for name, value in outcome.xcoms.items():
            rows[XComModel].append(
                key | {"dag_run_id": run.id, "key": name, "value": value, "timestamp": outcome.ended}
            )
        if outcome.expanded_to is not None:
            rows[TaskMap].append(key | {"length": outcome.expanded_to, "keys": None})
        if outcome.state == "success":
            self.history.successes[self.dag.dag_id, outcome.task_id].append((outcome.ended, run))


def _times(a_try: Try) -> dict[str, Any]:
    """Return the columns of a try; those of a task instance that never started show no worker."""
    ran = a_try.number > 0
    return {
        "try_number": a_try.number,
        "state": a_try.state,
        "start_date": a_try.started,
        "end_date": a_try.ended,
        "duration": (a_try.ended - a_try.started).total_seconds(),
        "scheduled_dttm": a_try.started - timedelta(seconds=0.7) if ran else None,
        "queued_dttm": a_try.started - timedelta(seconds=0.6) if ran else None,
        "hostname": "demo-worker" if ran else "",
    }


def _table(model: Any) -> Any:
    return getattr(model, "__table__", model)
