"""Failures in a time range in the DAGs that a user may see, for the start page and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth import permissions
from safe_clear_plugin.airflow_api.auth.permissions import BaseUser
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.airflow_api.selection import failed_dags
from safe_clear_plugin.core.failed_dags import FailedDag, FailedDags, FailedFilter
from safe_clear_plugin.core.plan import TeamDag
from safe_clear_plugin.core.problems import Invalid, Problem
from safe_clear_plugin.core.regex import Regex, RegexError
from safe_clear_plugin.services.time_limit import failed_time


def list_failed(wanted: FailedFilter, user: BaseUser, *, offset: int, limit: int) -> FailedDags:
    """Return a page of the DAGs in which something failed.

    :raises Invalid: when the regular expression cannot be used
    :raises TookTooLong: 503 when it takes longer than a preview may
    """
    pattern = _pattern(wanted)
    with new_session() as session, failed_time(session):
        found = [
            dag
            for dag in failed_dags.failed_dags(wanted, session)
            if dag.has(wanted.state) and (not wanted.owners or not set(wanted.owners).isdisjoint(dag.owners))
        ]
        if pattern is not None:
            matching = set(_matching(pattern, [dag.dag_id for dag in found]))
            found = [dag for dag in found if dag.dag_id in matching]
        readable = permissions.readable_dags([TeamDag(dag.dag_id) for dag in found], user, session)
        may_see = {dag.dag_id for dag in readable.dags}
        seen = [dag for dag in found if dag.dag_id in may_see]
        offset = offset if offset < len(seen) else 0
        return FailedDags(
            dags=_described(seen[offset : offset + limit], wanted, user, session),
            total=len(seen),
            task_instances=sum(dag.task_instances for dag in seen),
            dag_runs=sum(dag.dag_runs for dag in seen),
            offset=offset,
            complete=readable.complete,
        )


def _described(
    found: Sequence[FailedDag], wanted: FailedFilter, user: BaseUser, session: Session
) -> list[FailedDag]:
    """Add what is looked up for the DAGs of one page only."""
    if not found:
        return []
    dag_ids = [dag.dag_id for dag in found]
    tags = failed_dags.tags_of(dag_ids, session)
    first = failed_dags.first_failed_tasks(dag_ids, wanted, session)
    clearable = permissions.clearable_dags([TeamDag(dag_id) for dag_id in dag_ids], user, session).ids
    return [
        replace(
            dag,
            tags=tags.get(dag.dag_id, ()),
            first=first.get(dag.dag_id),
            may_clear=dag.dag_id in clearable,
        )
        for dag in found
    ]


def _pattern(wanted: FailedFilter) -> Regex | None:
    try:
        return Regex(wanted.dag_id_regex, of="Dag ids") if wanted.dag_id_regex else None
    except RegexError as error:
        raise _unusable(error) from None


def _matching(pattern: Regex, dag_ids: Sequence[str]) -> list[str]:
    try:
        return pattern.matching(dag_ids)
    except RegexError as error:
        raise _unusable(error) from None


def _unusable(error: RegexError) -> Invalid:
    return Invalid(Problem(error.reason, error.remedy, "dag_id_regex"))
