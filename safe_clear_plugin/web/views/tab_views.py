"""The views behind the tabs in Airflow's UI: the plan of a place at once, and the switches that change it."""

from __future__ import annotations

from typing import Any

from flask import redirect, request
from flask_appbuilder import expose

from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.problems import Invalid
from safe_clear_plugin.services.planning.linked_selection import Place, linked_selection
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.services.time_limit import TookTooLong
from safe_clear_plugin.web.api import form_data
from safe_clear_plugin.web.api.preview_bodies import PlanOfSwitches, PreviewRequest
from safe_clear_plugin.web.api.queries import TabQuery
from safe_clear_plugin.web.api.request_reader import body_values, read_query, validate
from safe_clear_plugin.web.api.types import Empty
from safe_clear_plugin.web.app import request_hooks
from safe_clear_plugin.web.app.authorization import clearable_plan, require_may_clear
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.history import history_links
from safe_clear_plugin.web.plan import switches
from safe_clear_plugin.web.select import tab_page
from safe_clear_plugin.web.select.form import without_placeholders
from safe_clear_plugin.web.views import actions


class TabViews:
    """A tab of a DAG, a dag run, a task or a task instance."""

    @expose("/tab")
    def tab(self) -> Any:
        """The page that previews the selection of a place in Airflow's UI; for viewers, the history."""
        place = _place()
        if history := history_links.for_viewer(request.args):
            return redirect(history, 303)
        require_may_clear(place.dag_id)
        selection = linked_selection(place, utcnow())
        if selection is None:
            return tab_page.no_failures_page(place)
        # A link on another site must not create a plan.
        at_once = request.headers.get("Sec-Fetch-Site") != "cross-site"
        return tab_page.opening_page(place, selection, at_once=at_once)

    @expose("/previews", methods=["POST"])
    def preview(self) -> Any:
        """Preview a selection for a tab, or for the switches on a plan's page."""
        wanted = _wanted()
        require_may_clear(wanted.dag_id)
        selection = wanted.selection()
        try:
            return actions.planned(make_plan(selection, caller().actor, utcnow(), reason=wanted.reason or ""))
        except Invalid as invalid:
            if request_hooks.wants_json():
                raise
            return tab_page.refused_page(selection, invalid.problems), 422
        except TookTooLong as late:
            if request_hooks.wants_json():
                raise
            return tab_page.refused_page(selection, (late.problem,)), late.status


def _wanted() -> PreviewRequest:
    """Read the body; a plan that it names stands for the selection beside the switches.

    :raises Refused: 422 when it says what the model does not take
    """
    read_query(Empty)
    values, mistakes = body_values(PreviewRequest)
    if "plan" in values:
        chosen = validate(PlanOfSwitches, {"plan": values.pop("plan")}, mistakes)
        if chosen is None:
            raise mistakes.refusal(form_data.shapes(PreviewRequest))
        values = switches.with_selection(values, clearable_plan(chosen.plan).selection)
    wanted = validate(PreviewRequest, values, mistakes)
    if wanted is None:
        raise mistakes.refusal(form_data.shapes(PreviewRequest))
    return wanted


def _place() -> Place:
    """Read the place from the query; Airflow leaves names in braces where it has no value.

    :raises Refused: 422 when the query names no place
    """
    values, mistakes = form_data.read(without_placeholders(request.args), TabQuery, blank_is_absent=True)
    query = validate(TabQuery, values, mistakes)
    if query is None:
        raise mistakes.refusal(form_data.shapes(TabQuery))
    return Place(query.dag_id, query.run_id or "", query.task_id or "", query.map_index)
