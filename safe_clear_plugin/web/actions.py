"""The requests that change something: clear a batch, stop, put a batch back, plan the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from flask import jsonify, redirect

from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.confirmation import Confirmation
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.services.clear import approval, receipt
from safe_clear_plugin.services.clear.apply import stop_plan
from safe_clear_plugin.services.clear.confirm import Unconfirmed, confirm_plan
from safe_clear_plugin.services.clear.scheduler_turns import seconds_left
from safe_clear_plugin.services.planning.derived_plans import plan_remaining
from safe_clear_plugin.services.session import new_session
from safe_clear_plugin.services.undo.undo import undo_plan
from safe_clear_plugin.web.api import serializers
from safe_clear_plugin.web.api.bodies import ApplyRequest, ReasonRequest, UndoRequest
from safe_clear_plugin.web.api.request_reader import read_body
from safe_clear_plugin.web.api.types import Empty
from safe_clear_plugin.web.app import request_hooks, templating
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.plan import plan_page
from safe_clear_plugin.web.plan.confirm_page import RejectedConfirmation


def apply(plan: PlanSummary) -> Any:
    """Clear the next batch; a page goes to the plan's page, a program gets how far it is."""
    sent, batches_before = read_body(ApplyRequest), plan.batches
    given = sent.given()
    resume = sent.resume or (sent.take_over and plan.status == "applying")
    try:
        plan = confirm_plan(plan, sent.fingerprint, given, caller().actor, _now(), resume=resume)
    except Unconfirmed as refused:
        if request_hooks.wants_json() or refused.status != 422:
            raise
        return plan_page.changed_page(plan.id, RejectedConfirmation(given, refused.missing)), refused.status
    except Refused as refused:
        if request_hooks.wants_json() or not refused.details.get("drift"):
            raise
        return plan_page.changed_page(plan.id), refused.status
    if not request_hooks.wants_json():
        return _to(plan)
    body = serializers.apply_json(plan)
    if plan.status in ("applying", "applied"):
        was_put_off = plan.status == "applying" and plan.batches == batches_before
        return _paced(body, seconds_left() if was_put_off else 0)
    why = plan.stop_reason
    refusal = {
        "error": (why.reason if why else "") or "The plan stopped.",
        "remedy": why.remedy if why else "",
        "drift": [row.to_json() for row in why.moved] if why else [],
        "code": why.kind if why else None,
    }
    return jsonify({**body, **refusal}), 409


def stop(plan: PlanSummary) -> Any:
    """Stop the clear after the batch in hand."""
    read_body(Empty)
    plan = stop_plan(plan, caller().actor, _now())
    return jsonify(serializers.apply_json(plan)) if request_hooks.wants_json() else _to(plan)


def request_approval(plan: PlanSummary) -> Any:
    """Ask for a second person to apply the plan."""
    return _with_reason(plan, approval.request_approval)


def decline(plan: PlanSummary) -> Any:
    """Decline a plan that waits for approval, or withdraw it."""
    return _with_reason(plan, approval.decline_plan)


def _with_reason(plan: PlanSummary, step: Callable[[PlanSummary, str, Actor, datetime], PlanSummary]) -> Any:
    reason = read_body(ReasonRequest).reason or ""
    try:
        plan = step(plan, reason, caller().actor, _now())
    except Unconfirmed as refused:
        if request_hooks.wants_json():
            raise
        return plan_page.changed_page(
            plan.id, RejectedConfirmation(Confirmation(reason), refused.missing)
        ), refused.status
    return jsonify(serializers.summary_json(plan, _now())) if request_hooks.wants_json() else _to(plan)


def undo(plan: PlanSummary) -> Any:
    """Put the next batch back; a page goes to the plan's page, a program gets how far it is."""
    sent = read_body(UndoRequest)
    reason = sent.reason or ""
    if sent.go_on:
        with new_session() as session:
            reason = reason or receipt.undo_progress(plan, session).reason
    plan = undo_plan(
        plan, sent.run_ids, reason, caller().actor, _now(), resume=sent.go_on, seen_runs=sent.cleared_runs
    )
    if not request_hooks.wants_json():
        return _to(plan)
    with new_session() as session:
        body = serializers.undo_json(plan, receipt.undo_progress(plan, session))
    return _paced(body, seconds_left() if plan.is_undoing else 0)


def _paced(body: dict[str, Any], seconds: float) -> Any:
    """Answer how far a step is, and after how many seconds to ask for the next one."""
    answer = jsonify({**body, "retry_after": round(seconds, 3)})
    if seconds:
        answer.headers["Retry-After"] = str(math.ceil(seconds))
    return answer


def remaining(plan: PlanSummary) -> Any:
    """Plan what this plan has not cleared, without what moved."""
    read_body(Empty)
    return planned(plan_remaining(plan, caller().actor, _now()))


def planned(plan: PlanSummary) -> Any:
    """Answer with a plan that was just made: a page goes on to it, a program gets it."""
    if not request_hooks.wants_json():
        return _to(plan)
    with new_session() as session:
        return jsonify(serializers.plan_json(plan, _now(), session)), 201


def _to(plan: PlanSummary) -> Any:
    return redirect(templating.url("plan", plan_id=plan.id), code=303)


def _now() -> datetime:
    return datetime.now(timezone.utc)
