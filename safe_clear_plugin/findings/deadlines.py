"""Time limits of cleared runs, and deadlines that Airflow cannot clear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run
from safe_clear_plugin.airflow_api.platform.key_table import by_value, in_parts
from safe_clear_plugin.airflow_api.scheduling import deadlines
from safe_clear_plugin.core.finding import Finding, Link
from safe_clear_plugin.core.formats import count, exact, moment, verb
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.links import MAX_LINKS
from safe_clear_plugin.storage.findings.plan_runs import cleared_run_pks, is_cleared_run
from safe_clear_plugin.storage.tables import plan_run

TIMED_OUT = "When the time is up, the run fails and its unfinished task instances are skipped."


@dataclass(frozen=True, slots=True)
class DeadlineFacts:
    """``dagrun_timeout`` of the DAG versions used, and deadlines of the runs."""

    timeouts: tuple[timedelta, ...] = ()
    restarting: int = 0
    """Runs with a timeout that go back to queued: it counts from their next start."""
    continuing: int = 0
    """Runs with a timeout that are running and keep their start."""
    first_ends_at: datetime | None = None
    last_ends_at: datetime | None = None
    overdue: int = 0
    """Continuing runs whose time is up already."""
    unclearable_runs: tuple[str, ...] = ()
    """The ids of runs with a deadline that Airflow's own clear cannot recalculate."""


@dataclass(frozen=True, slots=True)
class TimedRuns:
    """The cleared runs of one DAG version."""

    restarting: int
    continuing: int
    first_start: datetime | None
    last_start: datetime | None


def collect_facts(plan: PlanContext) -> DeadlineFacts:
    """Read ``dagrun_timeout`` of each DAG version used, and count the runs that it concerns."""
    timeouts = {
        version.id: version.dag.dagrun_timeout
        for version in plan.versions.values()
        if version.dag is not None and version.dag.dagrun_timeout
    }
    counted = count_timed_runs(plan.plan_id, plan.session) if timeouts else {}
    timed = {id_: counted[id_] for id_ in timeouts if id_ in counted}
    ends = [
        start + timeouts[id_]
        for id_, runs in timed.items()
        for start in (runs.first_start, runs.last_start)
        if start is not None
    ]
    since = {id_: plan.now - timeouts[id_] for id_, runs in timed.items() if runs.continuing}
    return DeadlineFacts(
        timeouts=tuple(sorted(set(timeouts.values()))),
        restarting=sum(runs.restarting for runs in timed.values()),
        continuing=sum(runs.continuing for runs in timed.values()),
        first_ends_at=min(ends, default=None),
        last_ends_at=max(ends, default=None),
        overdue=count_started_before(plan.plan_id, since, plan.session),
        unclearable_runs=_unclearable(plan) if plan.selection.reset_dag_runs else (),
    )


def _unclearable(plan: PlanContext) -> tuple[str, ...]:
    return tuple(deadlines.runs_that_break_clear(cleared_run_pks(plan.plan_id), plan.now, plan.session))


def count_timed_runs(plan_id: UUID, session: Session) -> dict[UUID, TimedRuns]:
    """Count, by DAG version, the runs that will start again and those that keep their start."""
    continuing = _continues()
    version = plan_run.c.uses_dag_version_id
    result = session.execute(
        select(
            version,
            func.count().filter(plan_run.c.after_state == "queued").label("restarting"),
            func.count().filter(continuing).label("continuing"),
            func.min(dag_run.c.start_date).filter(continuing).label("first_start"),
            func.max(dag_run.c.start_date).filter(continuing).label("last_start"),
        )
        .select_from(plan_run.join(dag_run, dag_run.c.id == plan_run.c.dag_run_id))
        .where(is_cleared_run(plan_id))
        .group_by(version)
    )
    return {
        row.uses_dag_version_id: TimedRuns(row.restarting, row.continuing, row.first_start, row.last_start)
        for row in result
    }


def count_started_before(plan_id: UUID, before: Mapping[UUID, datetime], session: Session) -> int:
    """Count the continuing runs that started before the moment given for their DAG version."""
    started = select(func.count()).select_from(plan_run.join(dag_run, dag_run.c.id == plan_run.c.dag_run_id))
    return sum(
        session.scalar(
            started.where(
                is_cleared_run(plan_id),
                _continues(),
                or_(
                    *(
                        and_(plan_run.c.uses_dag_version_id.in_(versions), dag_run.c.start_date < moment)
                        for moment, versions in moments
                    )
                ),
            )
        )
        or 0
        for moments in in_parts(by_value(before))
    )


def _continues() -> ColumnElement[bool]:
    return and_(plan_run.c.after_state == "running", dag_run.c.start_date.is_not(None))


def dagrun_timeout(facts: DeadlineFacts) -> Finding | None:
    """Find ``dagrun_timeout``: from the next start for queued runs, from the old one for running runs."""
    if not facts.restarting and not facts.continuing:
        return None
    limit = " or ".join(exact(timeout) for timeout in facts.timeouts)
    restarts = (
        f"`dagrun_timeout` will start again for {count(facts.restarting, 'run')}: {limit} from the start of "
        "each"
        if facts.restarting
        else ""
    )
    if not facts.continuing or facts.first_ends_at is None or facts.last_ends_at is None:
        return Finding("dagrun_timeout", "info", restarts, TIMED_OUT, facts.restarting)
    ends = moment(facts.first_ends_at)
    if facts.first_ends_at != facts.last_ends_at:
        ends = f"between {ends} and {moment(facts.last_ends_at)}"
    else:
        ends = f"at {ends}"
    over = f"; the time of {facts.overdue:,} is up already" if facts.overdue else ""
    keeps = verb(facts.continuing, "keeps its start", "keep their start")
    return Finding(
        "dagrun_timeout",
        "warn",
        f"{count(facts.continuing, 'running run')} {keeps} and will time out {ends}{over}",
        f"`dagrun_timeout` ({limit}) counts from a run's start. Running runs keep their start. "
        f"{TIMED_OUT}{f' {restarts}.' if restarts else ''}",
        facts.continuing,
        remedy="Clear these runs once they have finished: then they get a new start.",
    )


def deadline_breaks_clear(facts: DeadlineFacts) -> Finding | None:
    """Refuse deadlines on which ``clear_task_instances`` itself fails."""
    if not (run_ids := facts.unclearable_runs):
        return None
    return Finding(
        "deadline_breaks_clear",
        "refuse",
        f"Airflow can't clear {count(len(run_ids), 'run')}: a deadline counts from when the run was queued",
        "A clear has to move such a deadline. This version of Airflow fails when it reads the interval of "
        "the deadline. Its own page and CLI fail on these runs too.",
        len(run_ids),
        remedy="Exclude these runs, switch “Queue finished runs again” off, or upgrade Airflow.",
        links=tuple(Link("dag_run", run_id) for run_id in run_ids[:MAX_LINKS]),
    )


AREA = Area(
    "deadlines",
    collect_facts,
    (
        Check(
            "deadline_breaks_clear",
            "deadlines on which Airflow's clear fails",
            deadline_breaks_clear,
            is_grave=True,
        ),
        Check("dagrun_timeout", "dagrun_timeout", dagrun_timeout),
    ),
)
