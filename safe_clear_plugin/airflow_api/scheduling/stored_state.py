"""State that earlier tries have stored for later ones: task state and asset state (Airflow 3.3)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, exists, false, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.airflow_tables import (
    asset_state_store,
    hitl_detail,
    task_state_store,
)


@dataclass(frozen=True, slots=True)
class Traces:
    """The kinds of state that tries have left in this Airflow: without any, nothing further is asked."""

    questions: bool
    """Whether any task has ever asked a person."""
    task_state: bool
    """Whether the store holds anything of the DAG's task instances."""
    asset_state: bool
    """Whether the store holds anything of any asset."""


def look_for_traces(dag_id: str, session: Session) -> Traces:
    """Look once into each table, by an index."""
    tasks, assets = task_state_store, asset_state_store
    found = session.execute(
        select(
            exists(select(hitl_detail.c.ti_id)).label("questions"),
            false() if tasks is None else exists().where(tasks.c.dag_id == dag_id),
            false() if assets is None else exists(select(assets.c.asset_id)),
        )
    ).one()
    return Traces(*(bool(one) for one in found))


def stored_keys(dag_id: str) -> Select[Any]:
    """Select run, task and map index of the task instances that have stored state."""
    store = task_state_store
    assert store is not None
    return (
        select(store.c.run_id, store.c.task_id, store.c.map_index).where(store.c.dag_id == dag_id).distinct()
    )


def assets_with_state(asset_ids: Collection[int], session: Session) -> dict[int, int]:
    """Return how many values are stored for each of the assets that has any."""
    if (store := asset_state_store) is None or not asset_ids:
        return {}
    query = select(store.c.asset_id, func.count().label("n")).where(store.c.asset_id.in_(asset_ids))
    return {row.asset_id: row.n for row in session.execute(query.group_by(store.c.asset_id))}
