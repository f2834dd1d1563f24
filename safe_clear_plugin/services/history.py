"""The history of the DAGs that a user may see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.auth import permissions
from safe_clear_plugin.airflow_api.auth.teams import dags_by_id
from safe_clear_plugin.airflow_api.clear import logged_clears
from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.history import (
    NEWEST_FIRST,
    ClearCount,
    HistoryEntry,
    HistoryFilter,
    HistoryKey,
    HistorySort,
    LoggedClear,
)
from safe_clear_plugin.core.plan import TeamDag
from safe_clear_plugin.services.time_limit import read_in_time
from safe_clear_plugin.storage.change_sets import records
from safe_clear_plugin.storage.plans import history as stored
from safe_clear_plugin.storage.plans import plan_list


@dataclass(frozen=True, slots=True)
class FoundHistory:
    """A page of the history that a user may see."""

    dag_ids: list[str]
    """The DAGs with a history that the user may see."""
    entries: list[HistoryEntry]
    total: int
    offset: int
    """Offset of the first entry; 0 if there are not as many entries as the request skips."""
    complete: bool
    """Whether there was time to check the permissions on every DAG that has a history."""
    audited: bool
    """Whether the user may read Airflow's audit log for each of these DAGs whose clears it has."""


def list_history(
    wanted: HistoryFilter,
    dag_id: str,
    sort: HistorySort,
    user: permissions.BaseUser,
    session: Session,
    *,
    offset: int,
    limit: int,
) -> FoundHistory:
    """Return the history of ``dag_id``, or of all DAGs that the user may read."""
    seen = _visible(wanted, dag_id, user, session)
    total = stored.count_history(seen.wanted, session)
    offset = offset if offset < total else 0
    keys = stored.history(seen.wanted, sort, session, offset=offset, limit=limit)
    return FoundHistory(
        dag_ids=sorted({dag.dag_id for dag in (*seen.planned, *seen.wanted.logged_dags)}),
        entries=_entries(keys, seen.bulk, session),
        total=total,
        offset=offset,
        complete=seen.complete,
        audited=seen.audited,
    )


def count_clears(wanted: HistoryFilter, dag_id: str, user: permissions.BaseUser) -> ClearCount | None:
    """Return how often task instances of a DAG were cleared, as far as the user may know.

    Nothing is returned if none was ever cleared, or there was no time to count.
    """
    return read_in_time(lambda session: _count_clears(wanted, dag_id, user, session))


def _count_clears(
    wanted: HistoryFilter, dag_id: str, user: permissions.BaseUser, session: Session
) -> ClearCount | None:
    seen = _visible(replace(wanted, only_cleared=True), dag_id, user, session)
    cleared, asked = stored.count_clears(seen.wanted, session)
    keys = stored.history(seen.wanted, NEWEST_FIRST, session, offset=0, limit=1) if cleared or asked else []
    for entry in _entries(keys, seen.bulk, session):
        name = entry.plan.applied_by_name if entry.plan else entry.logged and entry.logged.by_name
        return ClearCount(cleared, asked, entry.at, name or "")
    return None


class _Visible(NamedTuple):
    """A filter for the entries that the user may see, and the clears that name DAGs one by one."""

    wanted: HistoryFilter
    planned: list[TeamDag]
    bulk: dict[int, LoggedClear]
    complete: bool
    audited: bool


def _visible(wanted: HistoryFilter, dag_id: str, user: permissions.BaseUser, session: Session) -> _Visible:
    planned = plan_list.planned_dags(session, dag_id)
    logged = {dag_id} if dag_id else set(logged_clears.logged_dag_ids(session))
    known = set(planned)
    dags = [*planned, *_other_dags(planned, logged, session)]
    readable = permissions.readable_dags(dags, user, session)
    bulk_clears = logged_clears.bulk_clears(wanted.since, wanted.until, session, dag_id)
    named = logged if dag_id else logged.union(*(clear.dag_ids for clear in bulk_clears))
    # The audit log has nothing about the other DAGs. If it has nothing at all, one DAG answers for all.
    with_log = [dag for dag in readable.dags if dag.dag_id in named] or readable.dags[:1]
    audited = permissions.audited_dags(with_log, user, session)
    more = permissions.readable_dags(_other_dags(dags, named, session), user, session)
    audited_too = permissions.audited_dags(more.dags, user, session)
    bulk = _readable_bulk(bulk_clears, wanted.run_id, [*audited.dags, *audited_too.dags])
    wanted = replace(
        wanted,
        dags=readable.dags,
        set_dags=_set_dags(wanted, dag_id, readable.dags, user, session),
        logged_dags=audited.dags,
        bulk_ids=list(bulk),
    )
    return _Visible(
        wanted,
        [dag for dag in readable.dags if dag in known],
        bulk,
        complete=readable.complete and audited.complete,
        audited=len(audited.dags) == len(with_log),
    )


def _other_dags(known: Sequence[TeamDag], dag_ids: set[str], session: Session) -> list[TeamDag]:
    """Return the DAGs with these ids that are not known yet."""
    return dags_by_id(sorted(dag_ids - {dag.dag_id for dag in known}), session)


def _set_dags(
    wanted: HistoryFilter,
    dag_id: str,
    readable: Sequence[TeamDag],
    user: permissions.BaseUser,
    session: Session,
) -> Sequence[TeamDag]:
    """Return the DAGs of the change sets that the user may see."""
    if not (wanted.by_set and dag_id):
        return readable
    sharing = stored.dags_sharing_a_set(dag_id, session)
    return permissions.readable_dags(sharing, user, session).dags


def _readable_bulk(
    found: Sequence[LoggedClear], run_id: str, audited: Sequence[TeamDag]
) -> dict[int, LoggedClear]:
    """Return the clears that name DAGs one by one, each with those runs only that the user may see.

    ``audited`` are the DAGs whose audit log the user may read.
    """
    allowed = {dag.dag_id for dag in audited}
    shown = {}
    for clear in found:
        runs = tuple(run for run in clear.run_ids if run[0] in allowed)
        if run_id:
            runs = tuple(run for run in runs if run[1] == run_id)
        if runs:
            shown[clear.id] = replace(clear, run_ids=runs)
    return shown


def _entries(
    keys: Sequence[HistoryKey], bulk: dict[int, LoggedClear], session: Session
) -> list[HistoryEntry]:
    sets = records.sets_by_id([key.set_id for key in keys if key.set_id], session)
    plan_ids = [key.plan_id for key in keys if key.plan_id]
    plans = stored.plans_by_id(plan_ids, session)
    in_sets = [UUID(plan.id) for one in sets.values() for plan in one.plans]
    of_plans = [*plan_ids, *in_sets]
    spans = stored.run_spans(of_plans, session) if of_plans else {}
    logged = {**logged_clears.clears([key.log_id for key in keys if key.log_id], session), **bulk}
    entries = []
    for key in keys:
        # The plan or set may have been purged since its key was read.
        if key.plan_id and (plan := plans.get(key.plan_id)):
            first, last = spans.get(key.plan_id, (None, None))
            entries.append(HistoryEntry(key.at, plan=plan, first_run=first, last_run=last))
        elif key.set_id and (of := sets.get(key.set_id)):
            first, last = _span_of(of, spans)
            entries.append(HistoryEntry(key.at, change_set=of, first_run=first, last_run=last))
        elif key.log_id in logged:
            entries.append(HistoryEntry(key.at, logged=logged[key.log_id]))
    return entries


def _span_of(
    of: ChangeSet, spans: Mapping[UUID, tuple[datetime | None, datetime | None]]
) -> tuple[datetime | None, datetime | None]:
    found = [spans.get(UUID(plan.id), (None, None)) for plan in of.plans]
    firsts, lasts = ([one for one in ends if one] for ends in zip(*found, strict=True))
    return min(firsts, default=None), max(lasts, default=None)
