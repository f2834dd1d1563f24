"""Task instances that a plan includes because of single ones: setups, teardowns and relatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Table, and_, case, func, or_, select

from safe_clear_plugin.airflow_api.dag.dependencies import RelationKind
from safe_clear_plugin.airflow_api.platform.airflow_tables import task_instance
from safe_clear_plugin.airflow_api.platform.joins import exists_row
from safe_clear_plugin.airflow_api.selection.select_task_instances import task_instances_select
from safe_clear_plugin.core.effects import CLEARED_EFFECTS
from safe_clear_plugin.core.inclusion import Reason, ReasonKind
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.states import NO_STATE

COMPANIONS: Mapping[RelationKind, ReasonKind] = {
    "setup_for": ReasonKind.SETUP,
    "teardown_for": ReasonKind.TEARDOWN,
}
RELATIVES: Mapping[RelationKind, ReasonKind] = {
    "taken_downstream": ReasonKind.DOWNSTREAM,
    "taken_upstream": ReasonKind.UPSTREAM,
}


@dataclass(frozen=True, slots=True)
class PlanRows:
    """The plan's own tables; ``known`` says whether PostgreSQL has statistics of them."""

    plan_id: UUID
    runs: Table
    tasks: Table
    relations: Table
    planned: Table
    all_map_indexes: int
    known: bool

    def select(self, selection: Selection, latest: UUID) -> Select[Any]:
        """Select the task instances of the planned runs, as :func:`task_instances_select`."""
        return task_instances_select(
            self.plan_id,
            selection,
            latest,
            runs=self.runs,
            tasks=self.tasks,
            all_map_indexes=self.all_map_indexes,
            known=self.known,
        )


def companions_select(selection: Selection, latest: UUID, plan: PlanRows) -> Select[Any]:
    """Select the setups and teardowns of what is planned already that the filters did not let through."""
    chosen = plan.select(replace(selection.whenever_failed(), state=()), latest)
    state = func.coalesce(task_instance.c.state, NO_STATE)
    is_new = _is_not_planned(plan) if selection.is_by_failure else state.not_in(selection.state)
    return _related(chosen, COMPANIONS, plan).where(is_new)


def relatives_select(selection: Selection, latest: UUID, plan: PlanRows) -> Select[Any]:
    """Select what is upstream or downstream of what is planned already, in the same runs."""
    chosen = plan.select(selection.whenever_failed(), latest)
    return _related(chosen, RELATIVES, plan).where(_is_not_planned(plan))


def _related(chosen: Select[Any], kinds: Mapping[RelationKind, ReasonKind], plan: PlanRows) -> Select[Any]:
    """Narrow to what is related to a cleared task instance of the same run, and say how."""
    ti, relation, cleared = task_instance, plan.relations.alias("relation"), plan.planned.alias("cleared")
    of_task = and_(
        relation.c.plan_id == plan.plan_id,
        relation.c.shape == plan.runs.c.shape,
        relation.c.task_id == ti.c.task_id,
        relation.c.kind.in_(kinds),
    )
    is_cleared = exists_row(
        cleared,
        cleared.c.plan_id == plan.plan_id,
        cleared.c.run_id == ti.c.run_id,
        cleared.c.task_id == relation.c.related_task_id,
        cleared.c.effect.in_(CLEARED_EFFECTS),
        or_(
            ~relation.c.same_map_index,
            cleared.c.map_index == ti.c.map_index,
            cleared.c.map_index < 0,
            ti.c.map_index < 0,
        ),
    )
    words = case(*((relation.c.kind == kind, Reason(why).words) for kind, why in kinds.items()), else_="")
    why = select(func.min(words.concat(relation.c.related_task_id))).where(of_task, is_cleared)
    columns = [
        why.scalar_subquery().label("why") if column.name == "why" else column
        for column in chosen.selected_columns
    ]
    return chosen.with_only_columns(*columns).where(exists_row(relation, of_task, is_cleared))


def _is_not_planned(plan: PlanRows) -> ColumnElement[bool]:
    ti, mine = task_instance, plan.planned.alias("mine")
    same = (mine.c[name] == ti.c[name] for name in ("run_id", "task_id", "map_index"))
    return ~exists_row(mine, mine.c.plan_id == plan.plan_id, *same)
