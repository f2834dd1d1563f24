"""Previewing a change set again: the same choice and selection, as things are now."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from safe_clear_plugin.airflow_api.auth.permissions import BaseUser
from safe_clear_plugin.airflow_api.platform import compatibility
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.change_set import ChangeSet, ChosenBy
from safe_clear_plugin.core.input_limits import NAMES_SHOWN
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.change_sets.dag_choice import DagChoice, matching_dags, without_right
from safe_clear_plugin.services.change_sets.make import NewSet, finish, make_change_set, write_set
from safe_clear_plugin.services.change_sets.refusals import refuse
from safe_clear_plugin.services.time_limit import preview_time


def preview_again(
    of: ChangeSet, without: Collection[str], user: BaseUser, actor: Actor, now: datetime
) -> ChangeSet:
    """Plan the choice and selection of the set once more. With ``without``, plan its other DAGs by name.

    DAGs that wait for a plan keep the runs that were found the first time.

    :raises Refused: 422 when no DAG is left, or a DAG to leave out is neither in the set nor matched by its
        filter; else as :func:`~.make.make_change_set`
    :raises Invalid: as there
    """
    reason = of.reason if of.is_author(actor.id) else ""
    if of.made_from["chosen_by"] == ChosenBy.WAITING:
        _require_known(without, of.dag_ids)
        selections = [plan.selection for plan in of.plans if plan.dag_id not in without]
        wanted = NewSet(actor, now, of.made_from, reason, left_out=of.left_out)
        return _plan_again(selections, wanted, user)
    choice = DagChoice(
        dag_ids=tuple(of.made_from["dag_ids"]),
        dag_id_regex=of.made_from["dag_id_regex"],
        tags=tuple(of.made_from["tags"]),
        owners=tuple(of.made_from["owners"]),
    )
    selection = Selection.from_json(of.made_from["selection"])
    if without:
        known = {*of.dag_ids, *choice.dag_ids}
        if not known.issuperset(without):
            # A filter may match more now.
            with new_session() as session:
                known.update(matching_dags(choice, selection, user, session))
        _require_known(without, known)
        named = choice.dag_ids or of.dag_ids
        choice = DagChoice(dag_ids=tuple(dag_id for dag_id in named if dag_id not in without))
        if not choice.dag_ids:
            raise _nothing_left()
    return make_change_set(choice, selection, user, actor, now, reason=reason)


def _plan_again(selections: Sequence[Selection], wanted: NewSet, user: BaseUser) -> ChangeSet:
    """Plan each selection in its DAG."""
    compatibility.require_known_tables()
    if not selections:
        raise _nothing_left()
    refuse([one for selection in selections if (one := without_right(selection.dag_id, user))])
    with new_session() as session, preview_time(session):
        made = write_set(selections, wanted, session)
    return finish(made, wanted.now)


def _require_known(without: Collection[str], known: Collection[str]) -> None:
    if unknown := [dag_id for dag_id in without if dag_id not in known]:
        named = ", ".join(unknown[:NAMES_SHOWN])
        problem = Problem(
            f"The change set has no plan of {named}.",
            "Nothing was planned. Name Dags of the change set.",
            "without",
        )
        raise Refused(422, problem)


def _nothing_left() -> Refused:
    return Refused(
        422, Problem("No Dag is left to preview.", "Start with the list of failures, or a new plan.")
    )
