"""The views that change something about a plan."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, redirect
from flask_appbuilder import expose

from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.services.planning.derived_plans import plan_with_field, plan_without
from safe_clear_plugin.services.time_limit import TookTooLong
from safe_clear_plugin.services.undo.undo_preview import chosen_runs, preview_undo
from safe_clear_plugin.web.api import step_json
from safe_clear_plugin.web.api.bodies import ExcludeRequest, WidenRequest
from safe_clear_plugin.web.api.queries import PlanQuery, UndoQuery
from safe_clear_plugin.web.api.request_reader import read_body, read_query
from safe_clear_plugin.web.app import request_hooks, templating
from safe_clear_plugin.web.app.authorization import clearable_plan
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.grid import grid_page
from safe_clear_plugin.web.receipt import undo_page
from safe_clear_plugin.web.views import actions, wave_actions

STEPS = "apply, ask, decline, discard, stop, continue, waves, rest, without, widen, webhook, pause"
"""The last part of the addresses that only take a POST."""


class ActionViews:
    """Apply, approve, stop and undo a plan, and derive others from it."""

    @expose(f"/plans/<plan_id>/<any({STEPS}):step>")
    def step(self, plan_id: str, step: str) -> Any:
        """The address of a form, which the browser shows while the answer stands there: back to the plan."""
        if request_hooks.wants_json():
            raise Refused(405, Problem(f"{step} accepts POST only.", "Nothing was done."))
        return redirect(templating.url("plan", plan_id=plan_id), 303)

    @expose("/plans/<plan_id>/apply", methods=["POST"])
    def apply(self, plan_id: str) -> Any:
        """Have what was shown cleared."""
        return actions.apply(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/continue", methods=["POST"])
    def go_on(self, plan_id: str) -> Any:
        """Go on with a clear that waits for a person."""
        return wave_actions.go_on(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/waves", methods=["POST"])
    def change_waves(self, plan_id: str) -> Any:
        """Change the waves of a clear in progress."""
        return wave_actions.change(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/ask", methods=["POST"])
    def request_approval(self, plan_id: str) -> Any:
        """Ask for a second person to apply the plan."""
        return actions.request_approval(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/decline", methods=["POST"])
    def decline(self, plan_id: str) -> Any:
        """Decline, or withdraw, a plan that waits for approval."""
        return actions.decline(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/discard", methods=["POST"])
    def discard(self, plan_id: str) -> Any:
        """Remove a plan of the caller's own that nobody confirmed or was asked to approve."""
        return actions.discard(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/stop", methods=["POST"])
    def stop(self, plan_id: str) -> Any:
        """Clear, or undo, no further batch."""
        return actions.stop(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/rest", methods=["POST"])
    def remaining(self, plan_id: str) -> Any:
        """Plan the rest, without the runs that moved."""
        return actions.remaining(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/without", methods=["POST"])
    def exclude(self, plan_id: str) -> Any:
        """Plan the same without what was unticked."""
        plan = clearable_plan(plan_id)
        sent = read_body(ExcludeRequest)
        return actions.planned(
            plan_without(plan, sent.exclusions(), sent.reason or "", caller().actor, utcnow())
        )

    @expose("/plans/<plan_id>/widen", methods=["POST"])
    def extend(self, plan_id: str) -> Any:
        """Plan the same with what a finding proposes switched on."""
        plan = clearable_plan(plan_id)
        field = read_body(WidenRequest).field
        return actions.planned(plan_with_field(plan, field, caller().actor, utcnow()))

    @expose("/plans/<plan_id>/webhook", methods=["POST"])
    def send_again(self, plan_id: str) -> Any:
        """Send the webhook what could not be delivered."""
        return actions.send_again(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/undo")
    def undo_preview(self, plan_id: str) -> Any:
        """Preview an undo: the task instances that it would restore now, and those that would stay."""
        plan, now = clearable_plan(plan_id), utcnow()
        query = read_query(UndoQuery, page=True)
        run_ids = chosen_runs(plan, query.choice)
        try:
            found = preview_undo(plan, now, run_ids, offset=query.offset)
        except TookTooLong as late:
            if request_hooks.wants_json():
                raise
            return undo_page.uncounted_page(plan, late.problem, run_ids, now), late.status
        return undo_page.undo_page(plan, found, run_ids, query, now)

    @expose("/plans/<plan_id>/undo.json")
    def undo_preview_json(self, plan_id: str) -> Response:
        """The same, for programs."""
        plan = clearable_plan(plan_id)
        query = read_query(UndoQuery)
        found = preview_undo(plan, utcnow(), chosen_runs(plan, query.choice), offset=query.offset)
        return jsonify(step_json.undo_preview_json(plan, found))

    @expose("/plans/<plan_id>/undo/grid")
    def undo_grid(self, plan_id: str) -> str:
        """A part of the grid of an undo, which replaces the grid on the page."""
        return grid_page.undo_page(clearable_plan(plan_id), read_query(PlanQuery, page=True))

    @expose("/plans/<plan_id>/pause", methods=["POST"])
    def pause(self, plan_id: str) -> Any:
        """Pause the DAG, so that no further task instance starts before the undo."""
        return actions.pause(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/undo", methods=["POST"])
    def undo(self, plan_id: str) -> Any:
        """Have it put back."""
        return actions.undo(clearable_plan(plan_id))
