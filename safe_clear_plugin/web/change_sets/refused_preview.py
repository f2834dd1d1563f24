"""Why several DAGs were not previewed together, and a preview of the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safe_clear_plugin.core.problems import Invalid, Problem, Refused

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RefusedPreview:
    """Why a preview of several DAGs was refused."""

    status: int
    problem: Problem
    dags: Sequence[Mapping[str, Any]] = ()
    """The DAGs that can't be previewed, each with its reason and remedy."""
    ticked: tuple[str, ...] = ()
    """All DAGs of the request."""
    fields: Fields = ()
    """The form fields that preview the other DAGs; empty if no DAG would be left."""


def refused_preview(
    error: Refused | Invalid,
    asked: Sequence[str],
    without: Callable[[Sequence[str]], Fields],
    *,
    always: Collection[str] = (),
) -> RefusedPreview:
    """Return why ``asked`` was refused; ``without`` returns the form fields that leave DAGs out.

    The DAGs in ``always`` alone are no preview.
    """
    if isinstance(error, Invalid):
        status, problem, dags = 422, error.problems[0], []
    else:
        status, problem, dags = error.status, error.problem, error.details.get("dags", [])
    if not dags and len(asked) == 1:
        dags = [{"dag_id": asked[0], "error": problem.reason, "remedy": problem.remedy}]
    named = [dag["dag_id"] for dag in dags]
    fields = without(named) if named and set(asked).difference(named, always) else ()
    return RefusedPreview(status, problem, dags, tuple(asked), fields)
