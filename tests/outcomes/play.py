"""Plays examples on one live scheduler: all pasts are written and all is cleared before it starts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

from airflow import settings
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.pool import Pool
from airflow.models.task_state_store import TaskStateStoreModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.plan_filters import RowFilter
from safe_clear_plugin.core.problems import Invalid
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.storage.plans import plan_reader
from tests.db.acting import clear, plan_of
from tests.outcomes.facts import Facts, Planned, Row, RowKey
from tests.outcomes.operators import Job
from tests.outcomes.pasts import SKIPS
from tests.outcomes.shapes import CHILD, OFFERED, Example, Run, Shape
from tests.support.dag_files import store_dag_files
from tests.support.factories import hitl_detail, make_run, set_states

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
AT_WORK = ("queued", "running", "restarting", "up_for_retry", "up_for_reschedule", "deferred")

Rows = dict[RowKey, Row]


@dataclass
class Played:
    """An example on its way: what its plan said, or why there is none."""

    example: Example
    before: Rows = field(default_factory=dict)
    runs_before: dict[str, str] = field(default_factory=dict)
    plan: PlanSummary | None = None
    refused: str = ""
    planned: dict[RowKey, Planned] = field(default_factory=dict)
    run_plan: dict[str, Planned] = field(default_factory=dict)
    asked: set[RowKey] = field(default_factory=set)

    def facts(self, rows: Rows, runs: dict[str, str], resumed: Collection[RowKey] = ()) -> Facts:
        """Return what there is to judge."""
        told = (self.asked, resumed)
        return Facts(self.before, rows, self.planned, self.runs_before, runs, self.run_plan, *told)


def write_examples(examples: Sequence[Example], folder: Path) -> None:
    """Write the DAG files and the past of each example, and then the DAG files as they are now."""
    folder.mkdir(exist_ok=True)
    with settings.NonScopedSession() as session:
        Pool.create_or_update_pool("closed", 0, "", include_deferred=False, session=session)
        Pool.create_or_update_pool("small", 1, "", include_deferred=False, session=session)
        (folder / "child.py").write_text(CHILD)
        for new in (False, True):
            for example in examples:
                shape = example.after if new else example.before
                (folder / f"{example.dag_id}.py").write_text(shape.source(example.dag_id))
            store_dag_files(session)
            if not new:
                make_run("child", session=session, run_id="there_already", task_state="success")
            for example in examples:
                for run in example.runs:
                    if run.on_new == new:
                        _write_run(example, run, session)
        paused = [example.dag_id for example in examples if example.paused]
        session.execute(update(DagModel).values(is_paused=DagModel.dag_id.in_(paused)))
        session.commit()


def _write_run(example: Example, run: Run, session: Session) -> None:
    date = START + timedelta(days=run.day - 1)
    made = make_run(
        example.dag_id, session=session, run_id=run.id, run_type=run.kind, logical_date=date, state=run.state
    )
    states = dict(run.states)
    lost = [
        ti.id
        for ti in session.scalars(_of(example.dag_id).where(TaskInstance.run_id == run.id))
        if (ti.task_id, ti.map_index) not in states
    ]
    session.execute(delete(TaskInstance).where(TaskInstance.id.in_(lost)))
    set_states(made, states, session=session)
    _write_decisions(example, run, session)
    _write_traces(example.after if run.on_new else example.before, made, run, session)
    session.commit()


def _write_traces(shape: Shape, made: DagRun, run: Run, session: Session) -> None:
    """Write what tries have left behind: answers of a person, and jobs.

    A task instance that asks again offers what it offered before, whatever its operator says now.
    """
    for ti in session.scalars(_of(made.dag_id).where(TaskInstance.run_id == run.id)).all():
        if (ti.task_id, ti.map_index) in run.asked:
            offered = OFFERED[shape.by_id[ti.task_id].kind]
            hitl_detail(ti, session=session, answered=True, options=offered)
    for (task_id, map_index), job in run.jobs:
        session.add(
            TaskStateStoreModel(
                dag_run_id=made.id,
                dag_id=made.dag_id,
                run_id=run.id,
                task_id=task_id,
                map_index=map_index,
                key=Job.external_id_key,
                value=json.dumps(job),
            )
        )


def _write_decisions(example: Example, run: Run, session: Session) -> None:
    for task_id, decided in run.decisions:
        kind = (example.after if run.on_new else example.before).by_id[task_id].kind
        if decided or kind not in SKIPS:
            XComModel.set(
                key="skipmixin_key",
                value={"skipped" if kind in SKIPS else "followed": list(decided)},
                dag_id=example.dag_id,
                task_id=task_id,
                run_id=run.id,
                map_index=-1,
                session=session,
            )


def _of(dag_id: str):
    return select(TaskInstance).where(TaskInstance.dag_id == dag_id)


def clear_example(example: Example) -> Played:
    """Plan and clear one example."""
    played = Played(example)
    played.before, played.runs_before = snapshot([example.dag_id])[example.dag_id]
    try:
        played.plan = plan_of(Selection(example.dag_id, **example.selection))
    except Invalid as invalid:
        played.refused = str(invalid)
        return played
    if refusals := [finding.code for finding in played.plan.findings if finding.level == "refuse"]:
        played.refused = ", ".join(refusals)
        return played
    _read_plan(played, played.plan)
    clear(played.plan)
    return played


def _read_plan(played: Played, plan: PlanSummary) -> None:
    plan_id = UUID(plan.id)
    with settings.NonScopedSession() as session:
        for row in plan_reader.task_instances(plan_id, RowFilter(), session, limit=10_000):
            key = (row.run_id, row.task_id, row.map_index)
            played.planned[key] = Planned(row.outcome, row.outcome_reason, str(row.effect.value))
        for run in plan_reader.runs(plan_id, session):
            played.run_plan[run.run_id] = Planned(run.outcome, run.outcome_reason)


def snapshot(dag_ids: Iterable[str]) -> dict[str, tuple[Rows, dict[str, str]]]:
    """Return the task instances and the runs of DAGs as they are now."""
    found: dict[str, tuple[Rows, dict[str, str]]] = {dag_id: ({}, {}) for dag_id in dag_ids}
    ti = TaskInstance
    with settings.NonScopedSession() as session:
        for dag_id, run_id, state in session.execute(select(DagRun.dag_id, DagRun.run_id, DagRun.state)):
            if dag_id in found:
                found[dag_id][1][run_id] = str(getattr(state, "value", state))
        for row in session.execute(
            select(ti.dag_id, ti.run_id, ti.task_id, ti.map_index, ti.state, ti.try_number)
        ):
            if row.dag_id in found:
                state = None if row.state is None else str(getattr(row.state, "value", row.state))
                found[row.dag_id][0][row.run_id, row.task_id, row.map_index] = Row(state, row.try_number)
    return found


class Quiet:
    """Finds out when nothing moves any more, and when nothing can: the scheduler has looked, and left it."""

    def __init__(self, played: Sequence[Played], seconds: float = 8) -> None:
        """Take the examples to look at, and for how long nothing may have moved."""
        self.dag_ids = [one.example.dag_id for one in played]
        self.seconds = seconds
        self._last: object = None
        self._since = datetime.now(timezone.utc)

    def has_come(self) -> bool:
        """Whether nothing has moved for long enough, and the scheduler has since looked at what goes on."""
        now = snapshot(self.dag_ids)
        if now != self._last:
            self._last, self._since = now, datetime.now(timezone.utc)
            return False
        still = datetime.now(timezone.utc) - self._since
        at_work = any(row.state in AT_WORK for rows, _ in now.values() for row in rows.values())
        return still > timedelta(seconds=self.seconds) and not at_work and self._was_looked_at()

    def _was_looked_at(self) -> bool:
        """Whether each run that goes on has been decided on twice since anything moved."""
        query = (
            select(DagRun.last_scheduling_decision)
            .join(DagModel, DagModel.dag_id == DagRun.dag_id)
            .where(DagRun.dag_id.in_(self.dag_ids), DagRun.state == "running", DagModel.is_paused.is_(False))
        )
        with settings.NonScopedSession() as session:
            looked = list(session.scalars(query))
        return all(at is not None and at > self._since + timedelta(seconds=2) for at in looked)


def unpause(dag_ids: Sequence[str]) -> None:
    """Unpause DAGs, as a person does."""
    with settings.NonScopedSession() as session:
        session.execute(update(DagModel).where(DagModel.dag_id.in_(dag_ids)).values(is_paused=False))
        session.commit()


def timed(what: Callable[[], object]) -> float:
    """Return how many seconds something takes."""
    begun = time.monotonic()
    what()
    return time.monotonic() - begun
