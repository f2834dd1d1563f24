"""Refusals of a change set because of some of its DAGs: a refusal names these DAGs, and nothing is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.input_limits import NAMES_SHOWN
from safe_clear_plugin.core.problems import Problem, Refused


@dataclass(frozen=True, slots=True)
class RefusedDag:
    """A DAG that prevents a step of its change set, and the reason."""

    dag_id: str
    status: int
    reason: str
    remedy: str
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"dag_id": self.dag_id, "error": self.reason, "remedy": self.remedy, **self.details}


WORST_FIRST = (404, 403, 410, 409, 422)
"""The statuses, the gravest first: a refusal of several DAGs has the gravest of their statuses."""


def refuse(dags: Sequence[RefusedDag], outcome: str = "Nothing was planned.") -> None:
    """Refuse the whole set if one of its DAGs is; ``outcome`` says what happens to the other DAGs.

    :raises Refused: with the gravest status, naming the DAGs
    """
    if not dags:
        return
    statuses = {dag.status for dag in dags}
    status = next((one for one in WORST_FIRST if one in statuses), 409)
    first = next(dag for dag in dags if dag.status == status)
    details: dict[str, Any] = {"dags": [dag.to_json() for dag in dags]}
    if len(dags) == 1:
        named = first.reason if first.dag_id in first.reason else f"{first.dag_id}: {first.reason}"
        raise Refused(status, Problem(named, f"{outcome} {first.remedy}".strip()), details)
    shown = ", ".join(dag.dag_id for dag in dags[:NAMES_SHOWN])
    more = f" and {len(dags) - NAMES_SHOWN:,} more" if len(dags) > NAMES_SHOWN else ""
    raise Refused(
        status,
        Problem(
            f"{count(len(dags), 'Dag')} can't be part of this: {shown}{more}. {first.dag_id}: {first.reason}",
            f"{outcome} {first.remedy}".strip(),
        ),
        details,
    )
