"""Makes a metadata database with users, DAGs and history; run with the environment of a test server.

One process does it all, because importing Airflow is slow. The past is written rather than run, in the rows
that Airflow's own code makes; what the tests clear is run by a real scheduler.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from airflow.models.dag import DagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.providers.fab.auth_manager.models import Action, Permission, Resource, Role
from airflow.utils.session import create_session
from sqlalchemy import select

from tests.support import prepare_server
from tests.support.dag_files import store_dag_files
from tests.support.factories import make_run, set_states, task_instances

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

FIRST_DAY = datetime(2026, 3, 1, tzinfo=timezone.utc)
DAYS = {"e2e_orders": 5, "e2e_changing": 2, "e2e_team_b": 1}
ROLES_WITH_TABS = ("team_a", "Viewer")
SALES_DAYS = 12
SALES_REGIONS = ("eu", "us", "apac")
"""The label that the template makes of each map index."""
# By how many days ago: what failed, and all that it kept from running.
SALES_FAILURES = {
    2: ("load.per_region", 1, ("load.publish", "report.daily")),
    3: ("load.per_region", 2, ("load.publish", "report.daily")),
    7: ("extract.fx_rates", -1, ("transform.join", "transform.totals", "load.publish", "report.daily")),
}


def end_to_end(session: Session) -> None:
    """Give each DAG its days, all successful, each task instance with the XCom that its try returned."""
    for dag_id, days in DAYS.items():
        for day in range(days):
            run = make_run(
                dag_id,
                session=session,
                logical_date=FIRST_DAY + timedelta(days=day),
                run_type="scheduled",
                task_state="success",
            )
            for ti in task_instances(run, session=session):
                _return_value(ti, f"{ti.task_id} try 1", session)
    session.commit()


def sales(session: Session, date: str) -> None:
    """Give the DAG of the screenshots the days before this one, some of them failed."""
    today = datetime.fromisoformat(date).replace(tzinfo=timezone.utc)
    for days_ago in range(SALES_DAYS, 0, -1):
        failure = SALES_FAILURES.get(days_ago)
        run = make_run(
            "sales_etl",
            session=session,
            logical_date=today - timedelta(days=days_ago),
            run_type="scheduled",
            state="failed" if failure else "success",
            task_state="success",
        )
        for ti in task_instances(run, session=session):
            if ti.task_id == "load.per_region":
                ti._rendered_map_index = SALES_REGIONS[ti.map_index]
        if failure:
            task_id, map_index, kept = failure
            set_states(run, {(task_id, map_index): "failed"}, session=session, try_number=3, max_tries=2)
            set_states(run, dict.fromkeys(kept, "upstream_failed"), session=session, try_number=0)


def waiting(session: Session) -> None:
    """Store two runs of each DAG, the first of them failed. Runs of waiting DAGs are an hour later."""
    for dag_id in sorted(session.scalars(select(DagModel.dag_id))):
        for day in range(2):
            after = timedelta(hours=dag_id not in ("orders", "wide"))
            run = make_run(
                dag_id,
                session=session,
                logical_date=FIRST_DAY + timedelta(days=day) + after,
                run_id=f"run_{day}",
                task_state="success",
            )
            if not after and not day:
                set_states(run, {"load": "failed"}, session=session)


def unusual(session: Session) -> None:
    """Give each Dag two runs that succeeded."""
    for dag_id in session.scalars(select(DagModel.dag_id)):
        for day in range(2):
            make_run(
                dag_id,
                session=session,
                logical_date=FIRST_DAY + timedelta(days=day),
                run_id=f"run_{day}",
                task_state="success",
            )


HISTORIES: dict[str, Callable[..., None]] = {
    "end_to_end": end_to_end,
    "sales": sales,
    "waiting": waiting,
    "unusual": unusual,
}


def _return_value(ti: TaskInstance, value: str, session: Session) -> None:
    XComModel.set(
        key="return_value",
        value=value,
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=ti.map_index,
        session=session,
    )


def _show_plugins(session: Session) -> None:
    """Let the roles read the list of plugins: Airflow's UI shows no plugin's tab to a user who may not."""
    of_plugins = (
        select(Permission)
        .join(Permission.action)
        .join(Permission.resource)
        .where(Action.name == "can_read", Resource.name == "Plugins")
    )
    permission = session.scalars(of_plugins).one()
    for role in session.scalars(select(Role).where(Role.name.in_(ROLES_WITH_TABS))).unique():
        role.permissions.append(permission)
    session.commit()


def main(history: str, *arguments: str) -> None:
    """Prepare the database with one of the histories, which takes the arguments."""
    prepare_server.main()
    with create_session(scoped=False) as session:
        _show_plugins(session)
        store_dag_files(session)
        HISTORIES[history](session, *arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
