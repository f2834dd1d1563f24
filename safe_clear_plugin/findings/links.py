"""Links of findings to other DAGs and to assets.

Titles and details name no other DAG, since not every reader may know of them. Links do, and a page shows
those that its reader can see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from safe_clear_plugin.core.finding import Link

MAX_LINKS = 200


@dataclass(frozen=True, slots=True)
class OtherDag:
    """Another DAG that is affected; ``paused`` if it is paused, or gone from the DAG files."""

    dag_id: str
    paused: bool = False
    note: str = ""


class NamedAsset(Protocol):
    """An asset, or an alias of assets, which has no id."""

    @property
    def id(self) -> int | None:
        """Airflow's id."""

    @property
    def name(self) -> str:
        """Airflow's name."""


def dag_links(dags: Sequence[OtherDag]) -> tuple[Link, ...]:
    """Return the links to the first of the DAGs."""
    return tuple(Link("dag", dag.dag_id, _link_text(dag)) for dag in dags[:MAX_LINKS])


def asset_links(assets: Sequence[NamedAsset]) -> tuple[Link, ...]:
    """Return the links to the first of the assets; an alias has no page."""
    return tuple(Link("asset", str(one.id), one.name) for one in assets[:MAX_LINKS] if one.id is not None)


def _link_text(dag: OtherDag) -> str:
    notes = [note for note in ("paused" if dag.paused else "", dag.note) if note]
    return f"{dag.dag_id} ({', '.join(notes)})" if notes else ""
