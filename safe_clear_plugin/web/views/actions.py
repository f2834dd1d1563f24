"""The requests that change something: clear, stop, undo, plan the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import jsonify, redirect, request

from safe_clear_plugin.core.actor import Actor
from safe_clear_plugin.core.confirmation import Confirmation
from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.plan import PlanStatus, PlanSummary
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.core.waves import Pace
from safe_clear_plugin.services import authorization, receipt
from safe_clear_plugin.services.clear import approval
from safe_clear_plugin.services.clear.apply import stop_plan
from safe_clear_plugin.services.clear.claim_errors import require_same_stop
from safe_clear_plugin.services.clear.confirm import Unconfirmed, confirm_plan
from safe_clear_plugin.services.clear.wave_choice import default_waves
from safe_clear_plugin.services.planning.derived_plans import plan_remaining
from safe_clear_plugin.services.planning.drafts import discard_draft
from safe_clear_plugin.services.session import new_session
from safe_clear_plugin.services.undo import pause_dag
from safe_clear_plugin.services.undo.undo import undo_plan
from safe_clear_plugin.services.webhook import undelivered
from safe_clear_plugin.web.api import serializers, step_json
from safe_clear_plugin.web.api.bodies import ApplyRequest, PauseRequest, ReasonRequest, UndoRequest
from safe_clear_plugin.web.api.request_reader import read_body
from safe_clear_plugin.web.api.types import Empty
from safe_clear_plugin.web.api.wave_bodies import WavesRequest
from safe_clear_plugin.web.app import request_hooks, templating
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.plan import plan_page
from safe_clear_plugin.web.plan.confirm_page import RejectedConfirmation
from safe_clear_plugin.web.waves.waves_form import WavesForm


def apply(plan: PlanSummary) -> Any:
    """Have the plan cleared; a page goes to the plan's page, a program gets how far it is."""
    sent = read_body(ApplyRequest)
    given = sent.given()
    resume = sent.resume or (sent.take_over and plan.status == "applying")
    if sent.finished_at is not None:
        require_same_stop(plan, sent.finished_at)
    try:
        plan = confirm_plan(
            plan,
            sent.fingerprint,
            given,
            caller().actor,
            utcnow(),
            resume=resume,
            pace=_pace(plan, sent.waves),
        )
    except Unconfirmed as refused:
        if request_hooks.wants_json() or refused.status != 422:
            raise
        return plan_page.changed_page(plan.id, RejectedConfirmation(given, refused.missing)), refused.status
    except Refused as refused:
        if request_hooks.wants_json():
            raise
        if errors := refused.details.get("errors"):
            attempt = RejectedConfirmation(given, (), WavesForm.rejected(request.form, errors))
            return plan_page.changed_page(plan.id, attempt), refused.status
        if not refused.details.get("drift"):
            raise
        return plan_page.changed_page(plan.id), refused.status
    return clear_answer(plan)


def _pace(plan: PlanSummary, sent: WavesRequest | None) -> Pace:
    """Return how a confirmation has the plan paced: as it says, else as it is configured.

    :raises Refused: 422 when it contradicts itself
    """
    if sent is not None:
        return Pace(sent.waves(), is_chosen=True)
    return Pace(default_waves(plan) if plan.status == PlanStatus.READY else None)


def clear_answer(plan: PlanSummary) -> Any:
    """Answer how a clear stands: a page goes to the plan's page, a program gets how far it is."""
    return _accepted(step_json.apply_json(plan)) if request_hooks.wants_json() else _to(plan)


def stop(plan: PlanSummary) -> Any:
    """Stop the clear, or the undo, after the current batch."""
    read_body(Empty)
    plan = stop_plan(plan, caller().actor, utcnow())
    return jsonify(step_json.apply_json(plan)) if request_hooks.wants_json() else _to(plan)


def request_approval(plan: PlanSummary) -> Any:
    """Ask for a second person to apply the plan."""
    return _with_reason(plan, approval.request_approval)


def decline(plan: PlanSummary) -> Any:
    """Decline a plan that waits for approval, or withdraw it."""
    return _with_reason(plan, approval.decline_plan)


def discard(plan: PlanSummary) -> Any:
    """Remove a draft of the caller's own."""
    read_body(Empty)
    discard_draft(plan, caller().actor, utcnow())
    return (
        jsonify(discarded=plan.id) if request_hooks.wants_json() else redirect(templating.url("plans"), 303)
    )


def _with_reason(plan: PlanSummary, step: Callable[[PlanSummary, str, Actor, datetime], PlanSummary]) -> Any:
    reason = read_body(ReasonRequest).reason or ""
    try:
        plan = step(plan, reason, caller().actor, utcnow())
    except Unconfirmed as refused:
        if request_hooks.wants_json():
            raise
        return plan_page.changed_page(
            plan.id, RejectedConfirmation(Confirmation(reason), refused.missing)
        ), refused.status
    return jsonify(serializers.summary_json(plan, utcnow())) if request_hooks.wants_json() else _to(plan)


def undo(plan: PlanSummary) -> Any:
    """Have the clear taken back; a page goes to the plan's page, a program gets how far it is."""
    sent = read_body(UndoRequest)
    plan = undo_plan(
        plan,
        sent.run_ids,
        sent.reason or "",
        caller().actor,
        utcnow(),
        resume=sent.go_on,
        seen_runs=sent.cleared_runs,
        promised=sent.put_back,
    )
    if not request_hooks.wants_json():
        return _to(plan)
    with new_session() as session:
        body = step_json.undo_json(plan, receipt.undo_progress(plan, session))
    return _accepted(body)


def pause(plan: PlanSummary) -> Any:
    """Pause the DAG of a plan; a page goes back to the preview of the undo."""
    sent = read_body(PauseRequest)
    authorization.require_may_pause(plan, caller().user)
    pause_dag.pause_dag(plan, caller().actor)
    if request_hooks.wants_json():
        return jsonify(dag_id=plan.dag_id, is_paused=True)
    asked = sent.model_dump(exclude_defaults=True)
    return redirect(templating.url("undo_preview", plan_id=plan.id, **asked), 303)


def _accepted(body: dict[str, Any]) -> Any:
    """Answer how far a clear or an undo is: 202 while a driver has more to do, with when to ask again."""
    answer = jsonify(body)
    if seconds := body["retry_after"]:
        answer.status_code = 202
        answer.headers["Retry-After"] = str(math.ceil(seconds))
    return answer


def remaining(plan: PlanSummary) -> Any:
    """Plan what this plan has not cleared, without what moved."""
    read_body(Empty)
    return planned(plan_remaining(plan, caller().actor, utcnow()))


def planned(plan: PlanSummary) -> Any:
    """Answer with a plan that was just made: a page goes on to it, a program gets it."""
    if not request_hooks.wants_json():
        return _to(plan)
    with new_session() as session:
        return jsonify(serializers.plan_json(plan, utcnow(), session)), 201


def send_again(plan: PlanSummary) -> Any:
    """Have the webhook told what it could not be told."""
    read_body(Empty)
    undelivered.send_again(plan)
    return jsonify(serializers.summary_json(plan, utcnow())) if request_hooks.wants_json() else _to(plan)


def _to(plan: PlanSummary) -> Any:
    return redirect(templating.url("plan", plan_id=plan.id), code=303)
