"""Makes a change set from a choice of DAGs and a selection: one plan for each DAG, all or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth.permissions import BaseUser
from safe_clear_plugin.airflow_api.dag import external_sensors
from safe_clear_plugin.airflow_api.platform import compatibility, config
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.change_set import ChangeSet, ChosenBy, LeftOutDag, clearing_order, fingerprint_of
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.input_limits import NAMES_SHOWN
from safe_clear_plugin.core.problems import Invalid, NothingMatches, Problem, Refused
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services import retention
from safe_clear_plugin.services.change_sets.dag_choice import DagChoice, choose_dags, require_one_choice
from safe_clear_plugin.services.change_sets.refusals import RefusedDag, refuse
from safe_clear_plugin.services.planning.preview import (
    WrittenPlan,
    refresh_statistics,
    require_sound,
    write_plan,
)
from safe_clear_plugin.services.planning.resolution import Resolution, resolve
from safe_clear_plugin.services.planning.task_matching import TaskFilter
from safe_clear_plugin.services.time_limit import preview_time
from safe_clear_plugin.storage.change_sets import records


@dataclass(frozen=True, slots=True)
class NewSet:
    """The values that a set is made with, besides its selections."""

    actor: Actor
    now: datetime
    made_from: Mapping[str, Any]
    reason: str = ""
    named: frozenset[str] = frozenset()
    """The DAGs in which a task instance must match. Any other DAG without a match is left out and named."""
    left_out: tuple[LeftOutDag, ...] = ()
    """DAGs that are known to be left out."""


def make_change_set(
    choice: DagChoice, selection: Selection, user: BaseUser, actor: Actor, now: datetime, *, reason: str = ""
) -> ChangeSet:
    """Plan the selection in each of the chosen DAGs, store the plans as one set, and return it.

    A named DAG must have a task instance to clear. A DAG that a filter matches and that has none is left out,
    and the set names it. All plans together take no longer than one preview may.

    :raises Invalid: with problems of the choice or the selection at their fields, and nothing written
    :raises Refused: naming the DAGs that cannot be planned, and nothing written: 403, 404 or 422; 409 and 503
        as for a plan
    """
    compatibility.require_known_tables()
    require_one_choice(choice, selection)
    require_sound(selection)
    made_from = made_from_json(choice.chosen_by(selection), choice, selection)
    wanted = NewSet(actor, now, made_from, reason, frozenset(choice.dag_ids))
    with new_session() as session, preview_time(session):
        dag_ids = choose_dags(choice, selection, user, session)
        selections = [replace(selection, dag_id=dag_id) for dag_id in dag_ids]
        made = write_set(selections, wanted, session)
    return finish(made, now)


def made_from_json(
    chosen_by: ChosenBy, choice: DagChoice, selection: Selection, plan_id: str | None = None
) -> dict[str, Any]:
    """Return the origin of a set as JSON values."""
    return {
        "chosen_by": chosen_by.value,
        **choice.to_json(),
        "plan": plan_id,
        "selection": selection.to_json(),
    }


class MadeSet(NamedTuple):
    """A set that was just written, with its plans."""

    change_set: ChangeSet
    plans: Sequence[WrittenPlan]


def finish(made: MadeSet, now: datetime) -> ChangeSet:
    """Do the steps that follow the commit of the set, and return the set."""
    refresh_statistics(made.plans)
    retention.clean_up_beside(now)
    return made.change_set


def write_set(selections: Sequence[Selection], wanted: NewSet, session: Session) -> MadeSet:
    """Write a set with a plan for each selection, in the order in which they are cleared.

    :raises Refused: naming the DAGs that cannot be planned; the transaction is to be rolled back
    """
    found = _Found(wanted)
    filters = {(one.task_regex, one.task_ids): require_sound(one) for one in selections}
    # Do as much as possible before the first row is written: from then on SQLite lets nobody else write.
    resolved = {
        one.dag_id: got
        for one in selections
        if (got := found.resolve(one, filters[one.task_regex, one.task_ids], session))
    }
    found.require_none_refused()
    set_id = uuid4()
    # Before the plans, so that a transaction has begun: SQLite's driver begins none for a savepoint alone.
    records.insert_set(_head(set_id, wanted), session)
    written: list[WrittenPlan] = []
    for dag_id in _in_order(resolved, session):
        place = {"change_set_id": set_id, "position": len(written)}
        try:
            with session.begin_nested():
                plan = write_plan(
                    resolved[dag_id], wanted.actor, wanted.now, session, reason=wanted.reason, **place
                )
        except NothingMatches as nothing:
            found.note(dag_id, nothing)
        else:
            written.append(plan)
    found.require_none_refused()
    found.require_some(written)
    fingerprint = fingerprint_of(one.plan.fingerprint for one in written)
    records.finish(set_id, fingerprint, sorted(found.left_out, key=lambda dag: dag.dag_id), session)
    stored = records.get(set_id, session)
    assert stored is not None
    return MadeSet(stored, written)


def _head(set_id: UUID, wanted: NewSet) -> dict[str, Any]:
    return {
        "id": set_id,
        "made_from": wanted.made_from,
        "left_out": [],
        "fingerprint": "",
        "created_by": wanted.actor.id,
        "created_by_name": wanted.actor.name,
        "created_at": wanted.now,
        "expires_at": wanted.now + timedelta(minutes=config.plan_ttl_minutes()),
        "reason": wanted.reason,
    }


class _Found:
    """The DAGs that a set leaves out, and the DAGs that prevent the set."""

    def __init__(self, wanted: NewSet) -> None:
        self._named = wanted.named
        self.left_out = list(wanted.left_out)
        self._refused: list[RefusedDag] = []

    def resolve(self, selection: Selection, tasks: TaskFilter, session: Session) -> Resolution | None:
        """Resolve the selection in its DAG, or note the reason why nothing matches."""
        try:
            return resolve(selection, tasks, session)
        except Invalid as invalid:
            self.note(selection.dag_id, invalid)
        return None

    def note(self, dag_id: str, invalid: Invalid) -> None:
        """Note a DAG that cannot be planned, or in which nothing matches."""
        first = invalid.problems[0]
        if isinstance(invalid, NothingMatches) and dag_id not in self._named:
            self.left_out.append(LeftOutDag(dag_id, first.reason, first.remedy))
            return
        details = {"field": first.field, "code": first.code}
        given = {name: value for name, value in details.items() if value}
        self._refused.append(RefusedDag(dag_id, 422, first.reason, first.remedy, given))

    def require_none_refused(self) -> None:
        """Refuse the set if one of its DAGs cannot be planned.

        :raises Refused: 422, naming all such DAGs found so far
        """
        refuse(self._refused)

    def require_some(self, written: Sequence[WrittenPlan]) -> None:
        """Refuse a set without a plan.

        :raises Refused: 422
        """
        if not written:
            names = ", ".join(dag.dag_id for dag in self.left_out[:NAMES_SHOWN])
            raise Refused(
                422,
                Problem(
                    f"Nothing matches in {count(len(self.left_out), 'Dag')}: {names}.",
                    f"Nothing was planned. {self.left_out[0].dag_id}: {self.left_out[0].reason}",
                ),
                {"left_out": [dag.to_json() for dag in self.left_out]},
            )


def _in_order(dag_ids: Iterable[str], session: Session) -> Sequence[str]:
    found = list(dag_ids)
    return clearing_order(found, external_sensors.awaited_dag_ids(found, session))
