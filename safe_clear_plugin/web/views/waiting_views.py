"""The views that include the DAGs that wait for a plan."""

from __future__ import annotations

from typing import Any

from flask import redirect
from flask_appbuilder import expose

from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.services.change_sets.waiting import can_include
from safe_clear_plugin.web.api.change_set_bodies import IncludeWaitingRequest
from safe_clear_plugin.web.api.request_reader import read_body, read_query
from safe_clear_plugin.web.api.types import Empty
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.app.authorization import clearable_plan
from safe_clear_plugin.web.change_sets import waiting_page


class WaitingViews:
    """The form that includes waiting DAGs, and the request that makes the change set."""

    @expose("/plans/<plan_id>/include_waiting")
    def waiting_form(self, plan_id: str) -> Any:
        """The sensors that wait for the plan's tasks, with a field for each unknown time."""
        plan = clearable_plan(plan_id)
        read_query(Empty)
        if not can_include(plan):
            return redirect(templating.url("plan", plan_id=plan.id), code=303)
        return waiting_page.waiting_page(plan)

    @expose("/plans/<plan_id>/include_waiting", methods=["POST"])
    def include_waiting(self, plan_id: str) -> Any:
        """Plan the same selection with the DAGs that wait for it, or show the form if times are unknown."""
        plan = clearable_plan(plan_id)
        return waiting_page.include(plan, read_body(IncludeWaitingRequest), utcnow())
