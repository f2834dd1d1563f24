"""The DAGs of a change set: named ones or those that a filter matches, if the caller may read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth import permissions
from safe_clear_plugin.airflow_api.auth.permissions import BaseUser
from safe_clear_plugin.airflow_api.selection import chosen_dags
from safe_clear_plugin.core.change_set import MAX_DAGS, ChosenBy
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.plan import TeamDag
from safe_clear_plugin.core.problems import Invalid, Problem, Refused
from safe_clear_plugin.core.regex import Regex, RegexError
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.authorization import require_may_clear
from safe_clear_plugin.services.change_sets.refusals import RefusedDag, refuse
from safe_clear_plugin.services.time_limit import TookTooLong


@dataclass(frozen=True, slots=True)
class DagChoice:
    """The choice of DAGs. Several filters narrow each other. A DAG needs only one of the tags, or owners."""

    dag_ids: tuple[str, ...] = ()
    dag_id_regex: str = ""
    tags: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing chooses the DAGs."""
        return not (self.dag_ids or self.dag_id_regex or self.tags or self.owners)

    @property
    def filters(self) -> list[ChosenBy]:
        """The filters that are given."""
        given = {
            ChosenBy.DAG_IDS: self.dag_ids,
            ChosenBy.DAG_ID_REGEX: self.dag_id_regex,
            ChosenBy.TAGS: self.tags,
            ChosenBy.OWNERS: self.owners,
        }
        return [name for name, value in given.items() if value]

    def chosen_by(self, selection: Selection) -> ChosenBy:
        """Return the kind of the choice: by time of failure, or by the first given filter."""
        return ChosenBy.FAILED if selection.is_by_failure else self.filters[0]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "dag_ids": list(self.dag_ids),
            "dag_id_regex": self.dag_id_regex,
            "tags": list(self.tags),
            "owners": list(self.owners),
        }


def require_one_choice(choice: DagChoice, selection: Selection) -> None:
    """Refuse an empty choice, and a choice by two filters: only a time range can be narrowed by filters.

    :raises Invalid: at the field
    """
    given = choice.filters
    if selection.is_by_failure and selection.failed_from is None:
        raise Invalid(Problem("The time range has no start.", "Send `failed_from` too.", "failed_from"))
    if not given and not selection.is_by_failure:
        names = "`dag_ids`, `dag_id_regex`, `tags` or `owners`, or `failed_from` and `failed_to`"
        raise Invalid(Problem("Nothing chooses the Dags.", f"Send one of {names}.", "dag_ids"))
    if len(given) > 1 and (choice.dag_ids or not selection.is_by_failure):
        named = " and ".join(f"`{name}`" for name in given)
        raise Invalid(
            Problem(
                f"{named} each choose the Dags.",
                "Send one of them. A regular expression, tags and owners together narrow only failures, "
                "with `failed_from`.",
                given[1],
            )
        )


def choose_dags(choice: DagChoice, selection: Selection, user: BaseUser, session: Session) -> list[str]:
    """Return the sorted ids of the chosen DAGs. The user may clear each of them.

    :raises Refused: 403 or 404, naming each DAG that the user may not clear; 422 when there are too many or
        none; 503 when there is no time to ask for the rights on all of them
    :raises Invalid: when the regular expression cannot be used
    """
    found = matching_dags(choice, selection, user, session)
    _require_number(choice, selection, len(found))
    refuse([refused for dag_id in found if (refused := without_right(dag_id, user))])
    return sorted(found)


def matching_dags(choice: DagChoice, selection: Selection, user: BaseUser, session: Session) -> list[str]:
    """Return the named DAGs, or the DAGs that the filters match and that the user may read.

    :raises Refused: 503 when there is no time to ask for the rights on all of them
    :raises Invalid: when the regular expression cannot be used
    """
    found = _narrowed(choice, selection, session)
    if choice.dag_ids:
        return found
    readable = permissions.readable_dags([TeamDag(dag_id) for dag_id in found], user, session)
    if not readable.complete:
        raise no_time_for_rights(len(found))
    return [dag.dag_id for dag in readable.dags]


def no_time_for_rights(number: int) -> TookTooLong:
    """Return the refusal for a choice with unchecked DAGs: without it, they would be left out silently."""
    return TookTooLong(
        Problem(
            f"There was no time to check the permissions for {count(number, 'Dag')}.",
            "Nothing was planned. Narrow the choice, or name the Dags in `dag_ids`.",
        )
    )


def _narrowed(choice: DagChoice, selection: Selection, session: Session) -> list[str]:
    if choice.dag_ids:
        return list(dict.fromkeys(choice.dag_ids))
    failing = selection.is_by_failure
    found = chosen_dags.dags_with(session, tags=choice.tags, owners=choice.owners, in_use=not failing)
    if failing:
        failed = chosen_dags.dags_with_failures(selection.failed_from, selection.failed_to, session)
        found = [dag_id for dag_id in found if dag_id in failed]
    return _matching(choice.dag_id_regex, found) if choice.dag_id_regex else found


def _matching(pattern: str, dag_ids: Sequence[str]) -> list[str]:
    try:
        return Regex(pattern, of="Dag ids").matching(dag_ids)
    except RegexError as error:
        raise Invalid(Problem(error.reason, error.remedy, ChosenBy.DAG_ID_REGEX)) from None


def _require_number(choice: DagChoice, selection: Selection, number: int) -> None:
    field = choice.chosen_by(selection)
    name = "failed_from" if field is ChosenBy.FAILED else field.value
    if not number:
        raise Invalid(
            Problem(
                "This chooses no Dag that you can see.",
                "Choose a longer time, or another filter.",
                name,
            )
        )
    if number > MAX_DAGS:
        raise Invalid(
            Problem(
                f"These are {number:,} Dags. A change set can have {MAX_DAGS} at most.",
                "Narrow the choice, and make several change sets.",
                name,
            )
        )


def without_right(dag_id: str, user: BaseUser) -> RefusedDag | None:
    """Return why the user cannot plan the DAG at all."""
    try:
        require_may_clear(dag_id, user)
    except Refused as refused:
        is_gone = refused.status == 404
        reason = f"There is no Dag {dag_id}." if is_gone else refused.problem.reason
        return RefusedDag(dag_id, refused.status, reason, refused.problem.remedy)
    return None
