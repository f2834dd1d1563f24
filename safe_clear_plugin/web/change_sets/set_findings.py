"""The findings of all plans of a change set, by level, to read before its confirmation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.change_set_confirmation import Acknowledged, SetRequirements
from safe_clear_plugin.core.finding import Level
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.web.plan.finding_page import FindingView, checklist

TITLES: Mapping[Level, str] = {
    "refuse": "Why it is refused",
    "acknowledge": "To acknowledge",
    "warn": "Warnings",
    "info": "Notes",
}


@dataclass(frozen=True, slots=True)
class SetPoint:
    """A finding with the plans that it is about: several if the finding is the same for each."""

    view: FindingView
    plans: tuple[PlanSummary, ...]
    anchor: str
    rows: tuple[tuple[str, str], ...] = ()
    """Each DAG whose rows can be listed, with the address of the list."""

    @property
    def acknowledged(self) -> Acknowledged:
        """The finding that its box acknowledges."""
        return self.plans[0].dag_id, self.view.finding.code

    @property
    def box(self) -> str:
        """The value of its box in a form."""
        return json.dumps(self.acknowledged)


@dataclass(frozen=True, slots=True)
class LevelGroup:
    """The findings of one level."""

    level: Level
    title: str
    points: list[SetPoint]


def anchor_of(dag_id: str, code: str, of: ChangeSet) -> str:
    """Return the id of a finding on the page."""
    position = next((plan.position for plan in of.plans if plan.dag_id == dag_id), 0)
    return f"{code}-{position}"


def with_refusals(of: ChangeSet, required: SetRequirements) -> ChangeSet:
    """Return the set, also with the findings that refuse it by the current options."""
    return replace(of, plans=tuple(_with_refusals(plan, required) for plan in of.plans))


def _with_refusals(plan: PlanSummary, required: SetRequirements) -> PlanSummary:
    known = {finding.code for finding in plan.findings}
    newly = [one for dag_id, one in required.refused if dag_id == plan.dag_id and one.code not in known]
    return replace(plan, findings=(*newly, *plan.findings))


def grouped_findings(of: ChangeSet) -> list[LevelGroup]:
    """Return the findings by level, the gravest first; an equal finding of several DAGs is listed once."""
    points: dict[Level, dict[tuple[object, ...], SetPoint]] = {level: {} for level in TITLES}
    for plan in of.plans:
        for view in checklist(plan).points:
            found = view.finding
            # A box and links belong to one DAG.
            alone = found.level in ("refuse", "acknowledge") or view.links
            rows = ((plan.dag_id, view.rows_url),) if view.rows_url else ()
            key = (found.code, found.title, found.detail, plan.dag_id if alone else "")
            of_level = points[found.level]
            if key in of_level:
                known = of_level[key]
                of_level[key] = replace(known, plans=(*known.plans, plan), rows=(*known.rows, *rows))
            else:
                of_level[key] = SetPoint(view, (plan,), f"{found.code}-{plan.position}", rows)
    return [
        LevelGroup(level, TITLES[level], list(of_level.values()))
        for level, of_level in points.items()
        if of_level
    ]


def summary(groups: Iterable[LevelGroup]) -> str:
    """Return ``2 to acknowledge · 3 warnings · 1 note``."""
    words = {"refuse": "refused", "acknowledge": "to acknowledge", "warn": "warning", "info": "note"}
    return " · ".join(
        count(len(group.points), words[group.level])
        if group.level in ("warn", "info")
        else f"{len(group.points):,} {words[group.level]}"
        for group in groups
    )


def points_of(plan: PlanSummary, groups: Sequence[LevelGroup]) -> list[SetPoint]:
    """Return the findings about one plan, in their order on the page, without the notes."""
    return [
        point
        for group in groups
        if group.level != "info"
        for point in group.points
        if any(one.id == plan.id for one in point.plans)
    ]
