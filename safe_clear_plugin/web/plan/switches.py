"""The switches at the top of a plan, as in Airflow's dialog. Each of them makes a new preview."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import MultiDict

from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.clear.viewer_role import ViewerRole
from safe_clear_plugin.web.api import form_data
from safe_clear_plugin.web.api.preview_bodies import PreviewRequest
from safe_clear_plugin.web.select.form import form_from_selection

FIXED = (ViewerRole.LOOK, ViewerRole.WAITING, ViewerRole.APPROVE, ViewerRole.MEMBER)
"""Roles that can't change the contents of the plan: they only look at it, or decide on it."""

ONLY_FAILED = "only_failed"
EXCLUSIONS = ("exclude_task_id", "exclude_run_id", "exclude_task_instance")
"""The fields of unticked rows, which are left out besides those that the selection excludes."""
MAX_FIELDS = 4_000
"""Characters of a selection that a page repeats in the form of its switches."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch: its field in the request, and its texts."""

    name: str
    label: str
    hint: str
    is_on: bool


@dataclass(frozen=True, slots=True)
class Switches:
    """The switches, and the fields with the rest of the selection, or with the plan that has it."""

    switches: tuple[Switch, ...]
    fields: tuple[tuple[str, str], ...]


def switches_of(plan: PlanSummary, role: ViewerRole) -> Switches | None:
    """Return the switches of a plan; ``None`` for a viewer who may not change its contents."""
    if role in FIXED:
        return None
    selection = plan.selection
    found = tuple(_switches(selection))
    fields = tuple(fields_beside(selection).items(multi=True))
    # A page does not repeat a long selection, which the server reads from the plan.
    is_long = sum(len(name) + len(value) for name, value in fields) > MAX_FIELDS
    return Switches(found, (("plan", plan.id),) if is_long else fields)


def fields_beside(selection: Selection) -> MultiDict[str, str]:
    """Return the selection as form data without what the switches of its plan say."""
    switches = _switches(selection)
    names = {one.name for one in switches}
    if any(one.name == ONLY_FAILED and one.is_on for one in switches):
        # The switch stands for both fields: when it is off, neither is sent.
        names |= {"state", "include_setups"}
    fields = form_from_selection(selection).given.items(multi=True)
    return MultiDict(field for field in fields if field[0] not in names)


def with_selection(values: Mapping[str, Any], selection: Selection) -> dict[str, Any]:
    """Return the values of a request with the selection of its plan, which the switches change.

    A value of another type is left as it is, so that the model refuses it.

    :raises Refused: 422 when a value says what the plan already says, or the selection can't be read
    """
    known, mistakes = form_data.read(fields_beside(selection), PreviewRequest, blank_is_absent=True)
    if mistakes:
        raise mistakes.refusal(form_data.shapes(PreviewRequest))
    own = {ONLY_FAILED, "reason", *EXCLUSIONS, *(one.name for one in _switches(selection))}
    if others := sorted(values.keys() - own):
        raise Refused(
            422, Problem(f"`plan` stands for `{others[0]}` as well.", "Leave the other fields out.")
        )
    added = {name: values[name] for name in EXCLUSIONS if values.get(name) and isinstance(values[name], list)}
    lists = {name: [*known.get(name, ()), *more] for name, more in added.items()}
    return {**known, **values, **lists}


def _switches(selection: Selection) -> list[Switch]:
    found = [
        Switch("include_upstream", "Upstream", "Tasks that these depend on", selection.include_upstream),
        Switch(
            "include_downstream", "Downstream", "Tasks that depend on these", selection.include_downstream
        ),
    ]
    if selection.run_id or selection.partition_key or selection.has_dates:
        found += [
            Switch("include_past", "Past", "The same tasks in all earlier runs", selection.include_past),
            Switch("include_future", "Future", "The same tasks in all later runs", selection.include_future),
        ]
    if _may_switch_failed(selection):
        hint = "Failed and Upstream Failed, with their setups and teardowns"
        found.append(Switch(ONLY_FAILED, "Only failed", hint, selection.is_only_failed))
    return found


def _may_switch_failed(selection: Selection) -> bool:
    """Whether switching on and off again gives the same plan: the switch replaces other filters."""
    if selection.is_by_failure:
        return False
    return not selection.state or (selection.is_only_failed and selection.include_setups)
