"""Effects of a DAG's tasks elsewhere: asset events, and dag runs of other DAGs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from airflow.models.asset import (
    AssetActive,
    AssetAliasModel,
    AssetModel,
    DagScheduleAssetAliasReference,
    DagScheduleAssetNameReference,
    DagScheduleAssetReference,
    DagScheduleAssetUriReference,
)
from airflow.models.dag import DagModel
from airflow.serialization.decoders import decode_asset_like
from airflow.serialization.definitions.assets import (
    SerializedAsset,
    SerializedAssetAlias,
    SerializedAssetNameRef,
    SerializedAssetUriRef,
)
from airflow.serialization.enums import DagAttributeTypes, Encoding
from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from safe_clear_plugin.airflow_api.platform.key_table import is_named

NOT_SET = "NOTSET"
"""The value in a serialized DAG of an argument that was left out and has no default."""

ASSET_TYPES = (DagAttributeTypes.ASSET, DagAttributeTypes.ASSET_ALIAS, DagAttributeTypes.ASSET_REF)
"""The types of a serialized task's inlets and outlets."""


@dataclass(frozen=True, slots=True)
class Asset:
    """An asset that there is in the metadata DB."""

    id: int
    name: str
    uri: str


@dataclass(frozen=True, slots=True)
class OtherDagRow:
    """A DAG that is in use."""

    dag_id: str
    is_paused: bool
    needs_more: bool = False
    """Whether it waits for other assets too."""
    is_partitioned: bool = False
    """Whether it waits for events of a partition; the others wait for events of none."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """A task that triggers a dag run; ``dag_id`` is ``None`` when only its run knows it."""

    task_id: str
    dag_id: str | None
    fixed_run: bool
    """Whether it asks for a logical date or a run id of its own."""


def inlets(task: Any) -> list[Any]:
    """Return the inlets of a task."""
    return _decoded(task.inlets)


def outlets(task: Any) -> list[Any]:
    """Return the outlets of a task, which its success updates."""
    return _decoded(task.outlets)


def outlet_names(task: Any) -> tuple[str, ...]:
    """Return the names of a task's outlets; the URI of an outlet without a name."""
    return tuple(
        dict.fromkeys(str(getattr(one, "name", "") or getattr(one, "uri", "")) for one in outlets(task))
    )


def _decoded(declared: Iterable[Any] | None) -> list[Any]:
    """Return assets, aliases and references; Airflow leaves those of mapped tasks as they are stored."""
    return [
        decode_asset_like(one) if isinstance(one, dict) and one.get(Encoding.TYPE) in ASSET_TYPES else one
        for one in declared or ()
    ]


def stored_assets(found: Iterable[Any], session: Session) -> list[Asset]:
    """Return the assets that tasks have as inlets or outlets: their runs may read and write stored state."""
    keys = {
        (asset.name, asset.uri)
        for task in found
        for asset in (*inlets(task), *outlets(task))
        if isinstance(asset, SerializedAsset)
    }
    if not keys:
        return []
    rows = _assets(AssetModel.name.in_([name for name, _ in keys]), session)
    return [asset for asset in rows if (asset.name, asset.uri) in keys]


def outlet_assets(found: Iterable[Any], session: Session) -> tuple[list[Asset], list[str]]:
    """Return the assets that tasks have as outlets, and the names of the aliases.

    References by name or URI are looked up as ``TaskInstance.register_asset_changes_in_db`` does, among the
    active assets.
    """
    declared = [outlet for task in found for outlet in outlets(task)]
    keys = {(outlet.name, outlet.uri) for outlet in declared if isinstance(outlet, SerializedAsset)}
    names = {outlet.name for outlet in declared if isinstance(outlet, SerializedAssetNameRef)}
    uris = {outlet.uri for outlet in declared if isinstance(outlet, SerializedAssetUriRef)}
    aliases = sorted({outlet.name for outlet in declared if isinstance(outlet, SerializedAssetAlias)})
    rows = []
    if keys:
        # By name alone: a tuple ``IN`` is not for every database, and few assets share a name.
        rows = _assets(AssetModel.name.in_([name for name, _ in keys]), session)
    found_assets = {asset.id: asset for asset in rows if (asset.name, asset.uri) in keys}
    if names or uris:
        active = or_(AssetActive.name.in_(names), AssetActive.uri.in_(uris))
        found_assets.update({asset.id: asset for asset in _assets(active, session, only_active=True)})
    return sorted(found_assets.values(), key=lambda asset: asset.name), aliases


def _assets(condition: ColumnElement[bool], session: Session, *, only_active: bool = False) -> list[Asset]:
    query = select(AssetModel.id, AssetModel.name, AssetModel.uri).where(condition)
    if only_active:
        query = query.join(
            AssetActive, (AssetActive.name == AssetModel.name) & (AssetActive.uri == AssetModel.uri)
        )
    return [Asset(row.id, row.name, row.uri) for row in session.execute(query)]


def consumers(found: Collection[Asset], aliases: Collection[str], session: Session) -> list[OtherDagRow]:
    """Return the DAGs that events of these assets queue (``AssetManager.register_asset_change``).

    An alias stands for the assets that it stood for so far.
    """
    rows = [*found, *_behind(aliases, session)]
    if not rows and not aliases:
        return []
    by_asset, by_name, by_uri = (
        DagScheduleAssetReference,
        DagScheduleAssetNameReference,
        DagScheduleAssetUriReference,
    )
    ids = {
        *session.scalars(select(by_asset.dag_id).where(by_asset.asset_id.in_([row.id for row in rows]))),
        *session.scalars(select(by_name.dag_id).where(by_name.name.in_([row.name for row in rows]))),
        *session.scalars(select(by_uri.dag_id).where(by_uri.uri.in_([row.uri for row in rows]))),
        *session.scalars(
            select(DagScheduleAssetAliasReference.dag_id)
            .join(DagScheduleAssetAliasReference.asset_alias)
            .where(AssetAliasModel.name.in_(aliases))
        ),
    }
    return dags_in_use(ids, session)


def _behind(aliases: Collection[str], session: Session) -> list[Asset]:
    if not aliases:
        return []
    query = select(AssetModel.id, AssetModel.name, AssetModel.uri).join(AssetModel.aliases)
    return [
        Asset(row.id, row.name, row.uri)
        for row in session.execute(query.where(AssetAliasModel.name.in_(aliases)))
    ]


def dags_in_use(dag_ids: Collection[str], session: Session) -> list[OtherDagRow]:
    """Return those of the DAGs that are in the DAG files."""
    if not dag_ids:
        return []
    result = session.execute(
        select(DagModel.dag_id, DagModel.is_paused, DagModel.asset_expression, DagModel.timetable_partitioned)
        .where(is_named(DagModel.dag_id, dag_ids), ~DagModel.is_stale)
        .order_by(DagModel.dag_id)
    )
    return [
        OtherDagRow(
            row.dag_id,
            bool(row.is_paused),
            len((row.asset_expression or {}).get("all", ())) > 1,
            bool(row.timetable_partitioned),
        )
        for row in result
    ]


def triggers(found: Iterable[Any]) -> Iterator[Trigger]:
    """Yield the tasks of ``TriggerDagRunOperator``, and of operators made from it."""
    for task in found:
        if "trigger_dag_id" not in task.template_fields:
            continue
        dag_id = argument(task, "trigger_dag_id")
        known = isinstance(dag_id, str) and not is_templated(dag_id)
        asked = (argument(task, name) for name in ("logical_date", "trigger_run_id"))
        fixed = any(value not in (None, NOT_SET) for value in asked)
        yield Trigger(task.task_id, dag_id if known else None, fixed)


def marked_dag_ids(found: Iterable[Any]) -> set[str]:
    """Return the DAGs that ``ExternalTaskMarker`` among the tasks point to."""
    ids = {argument(task, "external_dag_id") for task in found if task.task_type == "ExternalTaskMarker"}
    return {dag_id for dag_id in ids if isinstance(dag_id, str)}


def is_templated(text: str) -> bool:
    """Whether an argument is only known once Jinja has rendered it."""
    return "{{" in text or "{%" in text


def argument(task: Any, name: str) -> Any:
    """Return an argument of an operator, of a mapped one that which all its task instances share."""
    value = getattr(task, name, None)
    return value if value is not None else getattr(task, "partial_kwargs", {}).get(name)
