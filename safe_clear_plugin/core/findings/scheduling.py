"""Whether what is cleared will start, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from safe_clear_plugin.core.findings.finding import Check, Finding, Link
from safe_clear_plugin.core.formats import verb
from safe_clear_plugin.core.plan_text import MANY, count, moment


@dataclass(frozen=True, slots=True)
class WaitsForPast:
    """Task instances of a task that wait for one in an earlier run that is not in the plan."""

    task_id: str
    count: int
    run_id: str
    previous_run_id: str
    for_downstream: bool = False


@dataclass(frozen=True, slots=True)
class StartingFacts:
    """What the scheduler looks at before it starts something."""

    dag_id: str
    dag_is_paused: bool = False
    dag_is_stale: bool = False
    has_import_errors: bool = False
    runs_to_queue: int = 0
    runs_kept_finished: int = 0
    runs_of_paused_backfills: int = 0
    past: tuple[WaitsForPast, ...] = ()
    not_due: int = 0
    first_due: datetime | None = None
    after_end_date: int = 0


def dag_paused(facts: StartingFacts) -> Finding | None:
    """A paused DAG: nothing that is cleared starts."""
    if not facts.dag_is_paused:
        return None
    return Finding(
        "dag_paused",
        "warn",
        f"{facts.dag_id} is paused, so nothing will start",
        "The clear is done at once, but the scheduler starts no task of a paused DAG. Unpause it for that.",
        facts.runs_to_queue,
    )


def dag_stale(facts: StartingFacts) -> Finding | None:
    """A DAG whose file is gone: the scheduler passes it over, as it does a paused one."""
    if not facts.dag_is_stale:
        return None
    return Finding(
        "dag_stale",
        "warn",
        f"{facts.dag_id} is no longer in the DAG files, so nothing will start",
        "The scheduler passes over a DAG that the DAG processor has not seen for a while. "
        "Look at the DAG's import errors, or bring its file back.",
        facts.runs_to_queue,
    )


def dag_import_errors(facts: StartingFacts) -> Finding | None:
    """A DAG whose file cannot be imported now: its tasks start, and a worker imports the same file."""
    if not facts.has_import_errors:
        return None
    return Finding(
        "dag_import_errors",
        "warn",
        f"The file of {facts.dag_id} has import errors, so its tasks are likely to fail",
        "The scheduler starts tasks from the last version that could be read, but a worker imports the file "
        "itself, unless the dag run is bound to an older version of its bundle.",
        facts.runs_to_queue,
        remedy="Mend the file, and wait until the DAG processor has read it, before you clear.",
        links=(Link("dag", facts.dag_id),),
    )


def runs_not_reset(facts: StartingFacts) -> Finding | None:
    """Finished runs that keep their state: the scheduler does not look into them."""
    if not (kept := facts.runs_kept_finished):
        return None
    return Finding(
        "runs_not_reset",
        "warn",
        f"{count(kept, 'finished dag run')} {verb(kept, 'keeps its', 'keep their')} state, "
        f"so nothing in {verb(kept, 'it', 'them')} starts",
        "The scheduler looks only at queued and running dag runs. The cleared task instances stay without a "
        "state until somebody queues their runs.",
        kept,
        remedy="Choose to reset the dag runs, unless you mean to leave them so.",
    )


def runs_not_due(facts: StartingFacts) -> Finding | None:
    """Runs that lie in the future: ``get_queued_dag_runs_to_set_running`` and ``_schedule_dag_run`` wait."""
    if not facts.not_due:
        return None
    return Finding(
        "runs_not_due",
        "warn",
        f"{count(facts.not_due, 'dag run')} {verb(facts.not_due, 'lies', 'lie')} in the future, "
        f"the first until {moment(facts.first_due)}",
        "The scheduler starts no task of a dag run before its `run_after` and its logical date have come.",
        facts.not_due,
    )


def backfill_paused(facts: StartingFacts) -> Finding | None:
    """Runs of a paused backfill: queued ones are passed over."""
    if not (paused := facts.runs_of_paused_backfills):
        return None
    return Finding(
        "backfill_paused",
        "warn",
        f"{count(paused, 'dag run')} {verb(paused, 'belongs', 'belong')} to a paused backfill "
        "and will not start",
        "The scheduler starts no queued dag run of a paused backfill.",
        paused,
        remedy="Unpause the backfill on the DAG's Backfills page.",
        links=(Link("dag", facts.dag_id),),
    )


def depends_on_past(facts: StartingFacts) -> Finding | None:
    """Task instances whose past is not done and is not in the plan (``PrevDagrunDep``)."""
    return _waits_for_past(
        "depends_on_past",
        [item for item in facts.past if not item.for_downstream],
        "A task with `depends_on_past` starts only when all its task instances in the dag run before are "
        "success or skipped.",
    )


def wait_for_downstream(facts: StartingFacts) -> Finding | None:
    """The same for the direct downstream tasks in the run before."""
    return _waits_for_past(
        "wait_for_downstream",
        [item for item in facts.past if item.for_downstream],
        "A task with `wait_for_downstream` starts only when it and the tasks directly downstream of it are "
        "success or skipped in the dag run before.",
    )


def _waits_for_past(code: str, items: Sequence[WaitsForPast], rule: str) -> Finding | None:
    if not items:
        return None
    total = sum(item.count for item in items)
    names = ", ".join(item.task_id for item in items[:MANY])
    more = f" and {len(items) - MANY:,} more tasks" if len(items) > MANY else ""
    first = items[0]
    return Finding(
        code,
        "warn",
        f"{count(total, 'task instance')} of {names}{more} {verb(total, 'waits', 'wait')} for an earlier "
        "dag run that is not in the plan",
        f"{rule} In `{first.previous_run_id}` that is not so, so `{first.task_id}` in `{first.run_id}` does "
        "not start, nor what comes after it, there and in later runs.",
        total,
        remedy="Include the earlier run, or get its task instances to success first.",
        filter={"task": first.task_id} if len(items) == 1 else {},
    )


def after_end_date(facts: StartingFacts) -> Finding | None:
    """Runs beyond the ``end_date``, which none of the ``DEFAULT_OPERATOR_DEPS`` looks at."""
    if not (late := facts.after_end_date):
        return None
    return Finding(
        "after_end_date",
        "info",
        f"{count(late, 'dag run')} {verb(late, 'lies', 'lie')} after the end date, "
        f"and {verb(late, 'starts', 'start')} all the same",
        "An `end_date` keeps Airflow from making new dag runs. It does not hold back one that is cleared.",
        late,
    )


CHECKS: tuple[Check[StartingFacts], ...] = (
    Check("dag_paused", "a paused DAG", dag_paused),
    Check("dag_stale", "a DAG that is no longer in the DAG files", dag_stale),
    Check("dag_import_errors", "import errors of the DAG's file", dag_import_errors),
    Check("runs_not_reset", "finished dag runs that keep their state", runs_not_reset),
    Check("runs_not_due", "dag runs in the future", runs_not_due),
    Check("backfill_paused", "a paused backfill", backfill_paused),
    Check("depends_on_past", "tasks that wait for an earlier dag run", depends_on_past),
    Check(
        "wait_for_downstream", "tasks that wait for an earlier run's downstream tasks", wait_for_downstream
    ),
    Check("after_end_date", "dag runs after the end date", after_end_date),
)
