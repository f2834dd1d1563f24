"""The past of each DAG, and what is cleared of it. One table, since all of it is cleared together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

from airflow import settings
from airflow.models.backfill import Backfill, BackfillDagRun
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.pool import Pool
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tests.scheduler.stage import Scene
from tests.support.dag_files import store_dag_files
from tests.support.factories import TaskKey, make_run, set_states

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
# What changes in the DAG files once the past is over: a task goes and one comes, and DAGs get an end date.
CHANGES = {"around.py": ("old_report", "new_report"), "starting.py": ("END = None", "END = START")}
PAUSED_BYSTANDERS = ("consumer_asleep", "child_asleep")


def runs(dag_id: str, number: int, *states: Mapping[TaskKey, str], state: str = "success"):
    """Return a past of one run a day, all successful but for what ``states`` says, from the first run on."""

    def past(session: Session) -> None:
        for day in range(1, number + 1):
            run = add_run(dag_id, day, session, state=state)
            if day <= len(states):
                set_states(run, states[day - 1], session=session)

    return past


def add_run(dag_id: str, day: int, session: Session, **options) -> DagRun:
    options.setdefault("logical_date", START + timedelta(days=day - 1))
    return make_run(dag_id, session=session, run_id=f"run_{day}", **{"task_state": "success", **options})


def days(first: int, last: int, **more) -> dict:
    return {"date_from": f"2026-01-{first:02}", "date_to": f"2026-01-{last:02}", **more}


def past_and_to_come(session: Session) -> None:
    """One run is over, one has its logical date and its ``run_after`` before it, one only the latter."""
    ahead = datetime.now(timezone.utc) + timedelta(days=2)
    add_run("to_come", 1, session)
    add_run("to_come", 2, session, logical_date=ahead)
    add_run("to_come", 3, session, logical_date=None, run_after=ahead)


def paused_backfill(session: Session) -> None:
    """Two of three runs belong to it."""
    backfill = Backfill(
        dag_id="backfilled",
        from_date=START,
        to_date=START,
        dag_run_conf={},
        max_active_runs=5,
        is_paused=True,
    )
    session.add(backfill)
    session.flush()
    add_run("backfilled", 3, session)
    for day in (1, 2):
        run = add_run("backfilled", day, session)
        run.backfill_id = backfill.id
        session.add(
            BackfillDagRun(
                backfill_id=backfill.id, dag_run_id=run.id, sort_ordinal=day, logical_date=run.logical_date
            )
        )
    session.commit()


def running_since_long(session: Session) -> None:
    """One run has been running for longer than it may, one ended long ago."""
    run = add_run("timing_out", 1, session, state="running", task_state=None)
    set_states(run, {"one": "failed"}, session=session)
    add_run("timing_out", 2, session)


def waiting_for_a_pool(session: Session) -> None:
    """The run is on; its first task instance waits for a slot, and the second failed."""
    Pool.create_or_update_pool("closed", 0, "", include_deferred=False, session=session)
    run = add_run("unfinished_upstream", 1, session, state="running", task_state=None)
    set_states(run, {"load": "failed"}, session=session)


def small_pool(session: Session) -> None:
    Pool.create_or_update_pool("small", 1, "", include_deferred=False, session=session)
    add_run("pools", 1, session)


def children(session: Session) -> None:
    """The runs that the parent's tasks ask for are there."""
    add_run("parent", 1, session)
    for number, run_id in enumerate(("there_already", "to_reset")):
        make_run(
            "child",
            session=session,
            run_id=run_id,
            logical_date=START + timedelta(days=number),
            task_state="success",
        )


BROKEN = {
    "broken": "failed",
    ("part", 1): "failed",
    **dict.fromkeys(("load", "publish", "lenient", "total"), "upstream_failed"),
}
SKIPPED = dict.fromkeys(("gate", "below", "further"), "skipped")

SCENES = {
    # Around what is cleared.
    "failed_upstream": Scene(
        "failed_upstream",
        runs("failed_upstream", 3, BROKEN, BROKEN),
        days(1, 3, exclude_task_id=["broken", "part"]),
    ),
    "skipped_upstream": Scene(
        "skipped_upstream", runs("skipped_upstream", 2, SKIPPED), days(1, 2, exclude_task_id=["gate"])
    ),
    "in_part": Scene(
        "in_part",
        runs("in_part", 2, {"report": "upstream_failed"}, {"report": "upstream_failed"}),
        days(1, 2, task_regex="^transform$"),
    ),
    "unfinished_upstream": Scene(
        "unfinished_upstream", waiting_for_a_pool, days(1, 1, task_regex="^load$"), ends=False
    ),
    "changed": Scene("changed", runs("changed", 2), days(1, 2)),
    "moved": Scene("moved", runs("moved", 2), days(1, 2, run_on_latest_version=True)),
    # Starting.
    "asleep": Scene("asleep", runs("asleep", 2), days(1, 2), paused=True, ends=False),
    "kept_finished": Scene("kept_finished", runs("kept_finished", 2), days(1, 2, reset_dag_runs=False)),
    "to_come": Scene("to_come", past_and_to_come, {"run_id": ["run_1", "run_2", "run_3"]}, ends=False),
    "backfilled": Scene("backfilled", paused_backfill, days(1, 3), ends=False),
    "stuck_past": Scene("stuck_past", runs("stuck_past", 4, {"work": "failed"}), days(2, 4), ends=False),
    "failing_past": Scene(
        "failing_past",
        runs("failing_past", 3, {}, {"broken": "failed", "work": "upstream_failed"}),
        days(1, 3, task_regex="^work$"),
        ends=False,
    ),
    "good_past": Scene("good_past", runs("good_past", 4, {"work": "skipped"}), days(2, 4)),
    "stuck_downstream": Scene(
        "stuck_downstream",
        runs("stuck_downstream", 2, {"after": "failed"}),
        days(2, 2, task_regex="^work$"),
        ends=False,
    ),
    "ended": Scene("ended", runs("ended", 3), days(1, 3)),
    "ended_task": Scene("ended_task", runs("ended_task", 3), days(1, 3)),
    # Paused until it is cleared: it would time out before that.
    "timing_out": Scene("timing_out", running_since_long, days(1, 2), paused=True, ends=False),
    "due": Scene("due", runs("due", 1, {"work": "failed"}, state="failed"), days(1, 1), refused=True),
    # Limits.
    "narrow": Scene("narrow", runs("narrow", 5), days(1, 5)),
    "pools": Scene("pools", small_pool, days(1, 1), ends=False),
    "few_tasks": Scene("few_tasks", runs("few_tasks", 1), days(1, 1)),
    "one_of_a_task": Scene("one_of_a_task", runs("one_of_a_task", 2), days(1, 2)),
    # Elsewhere.
    "producer": Scene("producer", runs("producer", 2), days(1, 2)),
    "parent": Scene("parent", children, days(1, 1)),
    # In waves.
    "in_canary": Scene("in_canary", runs("in_canary", 4), days(1, 4), later=True),
    "few_at_a_time": Scene("few_at_a_time", runs("few_at_a_time", 6), days(1, 6), later=True),
}


def write_past(dags_folder: Path) -> None:
    """Store the DAGs, write the past of every scene, and then change some of the DAGs."""
    paused = {scene.dag_id for scene in SCENES.values() if scene.paused} | set(PAUSED_BYSTANDERS)
    with settings.NonScopedSession() as session:
        store_dag_files(session)
        session.execute(update(DagModel).values(is_paused=DagModel.dag_id.in_(paused)))
        session.commit()
        assert set(session.scalars(select(DagModel.dag_id))) >= {scene.dag_id for scene in SCENES.values()}
        for scene in SCENES.values():
            scene.past(session)
        for name, (before, after) in CHANGES.items():
            text = (dags_folder / name).read_text()
            assert before in text
            (dags_folder / name).write_text(text.replace(before, after))
        store_dag_files(session)
