"""DAGs and their versions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from inspect import signature
from threading import local
from typing import Any
from uuid import UUID

from airflow.api_fastapi.common import dagbag as api_dagbag
from airflow.models import taskinstance as airflow_taskinstance
from airflow.models.dag import DagModel
from airflow.models.dag_version import DagVersion
from airflow.models.serialized_dag import SerializedDagModel
from airflow.serialization.definitions.taskgroup import SerializedTaskGroup
from cachetools import LRUCache
from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.dag.dag_structure import structure_of
from safe_clear_plugin.airflow_api.platform.joins import is_one_of
from safe_clear_plugin.airflow_api.platform.key_table import is_named, rows_of_versions
from safe_clear_plugin.core.dag_structure import Structure, pack

VERSIONLESS_RUNS_MOVE: bool = hasattr(airflow_taskinstance, "_pin_versionless_tis_to_run_version")
"""Whether clearing moves a dag run without a DAG version to the latest (3.3), or leaves it (3.2)."""


_ENDS_WITHOUT_ORDER = "group_dict" in signature(SerializedTaskGroup.topological_sort).parameters

READ_AT_ONCE = 50
"""DAG versions whose JSON is in memory at a time."""


class _Kept(local):
    """DAG versions that this thread deserialized lately, by id and hash: the same hash is the same DAG.

    No other thread has them: a DAG remembers in itself what it has worked out, also while it is copied.
    """

    def __init__(self) -> None:
        self.versions: LRUCache[tuple[UUID, str | None], Version] = LRUCache(maxsize=16)


_kept = _Kept()


@dataclass(frozen=True)
class Version:
    """A DAG version with its deserialized DAG, which is ``None`` when the version has no serialized one."""

    id: UUID
    number: int
    dag_hash: str
    dag: Any

    @cached_property
    def task_ids(self) -> tuple[str, ...]:
        """The task ids in the DAG's topological order, as its grid shows them."""
        if self.dag is None:
            return ()
        try:
            return tuple(_in_order(self.dag.task_group))
        except ValueError:
            # A path that leaves a task group and comes back is no cycle of tasks, but one of groups.
            return tuple(self.dag.task_dict)

    @cached_property
    def structure(self) -> Structure:
        """The attributes of the version that a plan rests on."""
        return structure_of(self.dag)

    @cached_property
    def _packed(self) -> str:
        return pack(self.structure)

    def to_json(self, bundle_version: str | None = None, *, is_latest: bool = False) -> dict[str, Any]:
        """Return what a plan keeps of the version, to see later whether it changed.

        ``bundle_version`` is the one that runs get which move to this version. What the plan rests on is kept
        of the latest one: only that is rewritten, and has others follow it.
        """
        kept = {
            "id": str(self.id),
            "number": self.number,
            "hash": self.dag_hash,
            "bundle_version": bundle_version,
        }
        return {**kept, "structure": self._packed} if is_latest else kept


@dataclass(frozen=True, slots=True)
class LatestVersion:
    """The DAG's latest version, and the bundle version that a run moving to it gets (``None``: its own)."""

    id: UUID
    bundle_version: str | None


def children_in_order(group: Any) -> list[Any]:
    """Return the members of a task group in topological order (``topological_sort``).

    :raises ValueError: when tasks are no circle, but their groups are; Airflow 3.2 would sort them forever
    """
    if not _ENDS_WITHOUT_ORDER:
        siblings = group.children
        TopologicalSorter({name: set(_before(one, siblings)) for name, one in siblings.items()}).prepare()
    return list(group.topological_sort())


def _before(child: Any, siblings: Mapping[str, Any]) -> Iterator[str]:
    """Yield which of its siblings, or of the groups among them that hold it, a task or a group waits for."""
    for edge in child.upstream_list:
        place = edge
        while place is not None and place.node_id not in siblings:
            place = place.task_group
        if place is not None:
            yield place.node_id


def _in_order(group: Any) -> Iterator[str]:
    for child in children_in_order(group):
        if hasattr(child, "task_id"):
            yield child.task_id
        else:
            yield from _in_order(child)


def get_dag_model(dag_id: str, session: Session) -> DagModel | None:
    """Return the DAG's row, or ``None``."""
    return session.get(DagModel, dag_id)


def latest_version_id(dag_id: str, session: Session) -> UUID | None:
    """Return the id of the DAG's latest version (``DagVersion.get_latest_version``)."""
    version = DagVersion.get_latest_version(dag_id, session=session)
    return version.id if version else None


def latest_version(dag_id: str) -> ColumnElement[Any]:
    """Return the id of the DAG's latest version for a query, empty if there is none."""
    query: Select[Any] = DagVersion._latest_version_select(dag_id)
    return query.with_only_columns(DagVersion.id).scalar_subquery()


def load_versions(ids: Iterable[UUID], session: Session) -> dict[UUID, Version]:
    """Load DAG versions by id as the database has them now; cached ones are not read again."""
    rows = _version_rows(ids, session)
    kept = _kept.versions
    versions = {row.id: found for row in rows if (found := kept.get((row.id, row.dag_hash)))}
    missing = {row.id: row.version_number for row in rows if row.id not in versions}
    for serialized in _serialized(missing, session):
        id_ = serialized.dag_version_id
        # The hash is that of the very row: it may have been rewritten since the other query.
        versions[id_] = Version(id_, missing[id_], serialized.dag_hash, serialized.dag)
        # It caches what it was read from, and would keep that when its row is read again.
        session.expunge(serialized)
        kept[id_, serialized.dag_hash] = versions[id_]
    without = {id_: Version(id_, number, "", None) for id_, number in missing.items()}
    return without | versions


def _serialized(ids: Iterable[UUID], session: Session) -> Iterator[SerializedDagModel]:
    """Yield serialized DAGs a few at a time: as JSON they are many times as large as deserialized."""
    wanted = list(ids)
    for start in range(0, len(wanted), READ_AT_ONCE):
        of_these = SerializedDagModel.dag_version_id.in_(wanted[start : start + READ_AT_ONCE])
        query = select(SerializedDagModel).where(of_these).execution_options(populate_existing=True)
        yield from session.scalars(query).all()


def changed_versions(known: Iterable[Mapping[str, Any]], session: Session) -> list[Mapping[str, Any]]:
    """Return those of a plan's DAG versions that are gone or were rewritten in place since."""
    by_id = {UUID(item["id"]): item for item in known}
    now = {row.id: row.dag_hash or "" for row in _version_rows(by_id, session)}
    return [item for id_, item in by_id.items() if now.get(id_) != item["hash"]]


def unchanged_versions(known: Iterable[Mapping[str, Any]]) -> ColumnElement[int]:
    """Return how many of a plan's DAG versions are as they were, for a query."""
    as_shown = rows_of_versions((UUID(item["id"]), item["number"], item["hash"]) for item in known)
    hash_now = func.coalesce(SerializedDagModel.dag_hash, "")
    ids = select(as_shown.c.id)
    query = (
        select(func.count(DagVersion.id))
        .select_from(as_shown)
        .join(DagVersion, and_(DagVersion.id == as_shown.c.id, is_one_of(DagVersion.id, ids)))
        .outerjoin(
            SerializedDagModel,
            and_(
                SerializedDagModel.dag_version_id == DagVersion.id,
                is_one_of(SerializedDagModel.dag_version_id, ids),
            ),
        )
    )
    return query.where(hash_now == as_shown.c.text).scalar_subquery()


def version_numbers(ids: Iterable[UUID], session: Session) -> dict[UUID, int]:
    """Return the number that Airflow shows for each DAG version."""
    return {row.id: row.version_number for row in _version_rows(ids, session)}


def _version_rows(ids: Iterable[UUID], session: Session) -> Sequence[Any]:
    if not (ids := list(ids)):
        return []
    return session.execute(
        select(DagVersion.id, DagVersion.version_number, SerializedDagModel.dag_hash)
        .outerjoin(SerializedDagModel, SerializedDagModel.dag_version_id == DagVersion.id)
        .where(is_named(DagVersion.id, ids))
    ).all()


def runs_on_latest(asked: bool | None, dag_id: str, session: Session) -> bool:
    """Decide ``run_on_latest_version`` as Airflow does: the request, the DAG, the configuration.

    Airflow 3.2 knows the request only (``resolve_run_on_latest_version`` came with 3.3).
    """
    resolve = getattr(api_dagbag, "resolve_run_on_latest_version", None)
    return bool(resolve(asked, dag_id, session) if resolve else asked)


def has_bundle_versioning(version: Version) -> bool:
    """Whether runs of this DAG version carry a bundle version."""
    return version.dag is not None and not version.dag.disable_bundle_versioning


def retries(version: Version) -> dict[str, int]:
    """Return each task's ``retries``, which a clear adds to the tries made."""
    if version.dag is None:
        return {}
    return {task_id: int(task.retries or 0) for task_id, task in version.dag.task_dict.items()}


def bundle_version_of(dag_id: str, session: Session) -> str | None:
    """Return the bundle version that the DAG was last parsed from."""
    return session.scalar(select(DagModel.bundle_version).where(DagModel.dag_id == dag_id))
