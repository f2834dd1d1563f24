"""The team of a DAG, where Airflow runs for several (``[core] multi_team``)."""

from __future__ import annotations

from collections.abc import Sequence

from airflow.configuration import conf
from airflow.models.dag import DagModel
from airflow.models.team import dag_bundle_team_association_table as bundle_team
from sqlalchemy import select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.key_table import is_named
from safe_clear_plugin.core.plan import TeamDag


def live_teams(dag_ids: Sequence[str], session: Session) -> dict[str, str | None]:
    """Return the team of each of the DAGs that there is now; ``None`` for one that belongs to no team.

    ``DagModel.get_team_name`` gives the same for a DAG that is gone and for one without a team.
    """
    if not dag_ids:
        return {}
    query = (
        select(DagModel.dag_id, bundle_team.c.team_name)
        .outerjoin(bundle_team, bundle_team.c.dag_bundle_name == DagModel.bundle_name)
        .where(is_named(DagModel.dag_id, dag_ids))
    )
    return {row.dag_id: row.team_name for row in session.execute(query)}


def runs_for_several() -> bool:
    """Whether Airflow runs for several teams."""
    return bool(conf.getboolean("core", "multi_team", fallback=False))


def team_of(dag_id: str, session: Session) -> str | None:
    """Return the team that a DAG belongs to; without asking where Airflow runs for one."""
    return live_teams([dag_id], session).get(dag_id) if runs_for_several() else None


def dags_by_id(dag_ids: Sequence[str], session: Session) -> list[TeamDag]:
    """Return the DAGs with these ids and their teams, without those whose team is no longer known."""
    teams = live_teams(dag_ids, session)
    return [
        TeamDag(dag_id, teams.get(dag_id)) for dag_id in dag_ids if dag_id in teams or not runs_for_several()
    ]
