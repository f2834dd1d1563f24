"""The rows that one clearing transaction locks."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.clear import locks
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.services.clear.scheduler_turns import Turn
from safe_clear_plugin.storage.clear.batches import Batch
from safe_clear_plugin.storage.plans import plan_reader


@dataclass(frozen=True, slots=True)
class LockedBatch:
    """The locked rows of one transaction."""

    dag_runs: Sequence[Any]
    """As they are under their locks, for Airflow's clear."""
    task_instance_ids: Set[UUID]


def lock_batch(plan: PlanSummary, batch: Batch, own_turn: Turn, session: Session) -> LockedBatch:
    """Lock the runs of one transaction, and of their task instances those that are not free to go on."""
    if batch.has_scheduled:
        own_turn.take(session)
    dag_runs = locks.load_dag_runs(batch.run_pks, session)
    if batch.has_scheduled:
        own_turn.lock_out_scheduler(session)
    ids = locks.lock_task_instances(
        plan.dag_id,
        batch.run_ids,
        session,
        touched=plan_reader.touched_ids(UUID(plan.id), batch.run_ids),
        # Bringing a run up to the latest DAG version looks at, and may write, each of its task instances.
        whole=[run.run_id for run in batch.runs if run.moves_to_latest],
    )
    return LockedBatch(dag_runs, ids)
