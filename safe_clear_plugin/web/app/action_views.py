"""The views that change something about a plan."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from flask import Response, jsonify, redirect
from flask_appbuilder import expose

from safe_clear_plugin.core.problems import Problem, Refused
from safe_clear_plugin.services.planning.derived_plans import plan_with_field, plan_without
from safe_clear_plugin.services.planning.time_limit import TookTooLong
from safe_clear_plugin.services.undo.undo_preview import preview_undo
from safe_clear_plugin.web import actions
from safe_clear_plugin.web.api import serializers
from safe_clear_plugin.web.api.bodies import ExcludeRequest, WidenRequest
from safe_clear_plugin.web.api.queries import UndoQuery
from safe_clear_plugin.web.api.request_reader import read_body, read_query
from safe_clear_plugin.web.app import request_hooks, templating
from safe_clear_plugin.web.app.authorization import clearable_plan
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.receipt import undo_page


class ActionViews:
    """Apply, approve, stop and undo a plan, and derive others from it."""

    @expose("/plans/<plan_id>/<any(apply, ask, decline, stop, rest, without, widen):step>")
    def step(self, plan_id: str, step: str) -> Any:
        """The address of a form, which the browser shows while the answer stands there: back to the plan."""
        if request_hooks.wants_json():
            raise Refused(405, Problem(f"{step} accepts POST only.", "Nothing was done."))
        return redirect(templating.url("plan", plan_id=plan_id), 303)

    @expose("/plans/<plan_id>/apply", methods=["POST"])
    def apply(self, plan_id: str) -> Any:
        """Clear the next batch of what was shown."""
        return actions.apply(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/ask", methods=["POST"])
    def request_approval(self, plan_id: str) -> Any:
        """Ask for a second person to apply the plan."""
        return actions.request_approval(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/decline", methods=["POST"])
    def decline(self, plan_id: str) -> Any:
        """Decline, or withdraw, a plan that waits for approval."""
        return actions.decline(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/stop", methods=["POST"])
    def stop(self, plan_id: str) -> Any:
        """Clear no further batch."""
        return actions.stop(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/rest", methods=["POST"])
    def remaining(self, plan_id: str) -> Any:
        """Plan what is left, without what moved."""
        return actions.remaining(clearable_plan(plan_id))

    @expose("/plans/<plan_id>/without", methods=["POST"])
    def exclude(self, plan_id: str) -> Any:
        """Plan the same without what was unticked."""
        plan = clearable_plan(plan_id)
        sent = read_body(ExcludeRequest)
        return actions.planned(
            plan_without(plan, sent.exclusions(), sent.reason or "", caller().actor, _now())
        )

    @expose("/plans/<plan_id>/widen", methods=["POST"])
    def extend(self, plan_id: str) -> Any:
        """Plan the same with what a finding proposes switched on."""
        plan = clearable_plan(plan_id)
        field = read_body(WidenRequest).field
        return actions.planned(plan_with_field(plan, field, caller().actor, _now()))

    @expose("/plans/<plan_id>/undo")
    def undo_preview(self, plan_id: str) -> Any:
        """What an undo would put back now, and what would stay."""
        plan, now = clearable_plan(plan_id), _now()
        run_ids = read_query(UndoQuery, page=True).run_ids
        try:
            found = preview_undo(plan, now, run_ids)
        except TookTooLong as late:
            if request_hooks.wants_json():
                raise
            return undo_page.uncounted_page(plan, late.problem, run_ids, now), late.status
        return undo_page.undo_page(plan, found, run_ids, now)

    @expose("/plans/<plan_id>/undo.json")
    def undo_preview_json(self, plan_id: str) -> Response:
        """The same, for programs."""
        plan = clearable_plan(plan_id)
        run_ids = read_query(UndoQuery).run_ids
        return jsonify(serializers.undo_preview_json(plan, preview_undo(plan, _now(), run_ids)))

    @expose("/plans/<plan_id>/undo", methods=["POST"])
    def undo(self, plan_id: str) -> Any:
        """Put the next batch back."""
        return actions.undo(clearable_plan(plan_id))


def _now() -> datetime:
    return datetime.now(timezone.utc)
