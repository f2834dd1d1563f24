"""The views of change sets."""

from __future__ import annotations

import math
from typing import Any

from flask import jsonify, request
from flask_appbuilder import expose

from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.change_set_confirmation import SetConfirmation
from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.problems import Invalid, Refused
from safe_clear_plugin.services.change_sets import approval, control, undo, waiting
from safe_clear_plugin.services.change_sets.confirm import confirm_change_set
from safe_clear_plugin.services.change_sets.make import make_change_set
from safe_clear_plugin.services.change_sets.stored import clearable_change_set, readable_change_set
from safe_clear_plugin.services.change_sets.waves import change_set_waves
from safe_clear_plugin.services.clear.confirm import Unconfirmed
from safe_clear_plugin.services.clear.waves import NewWaves
from safe_clear_plugin.services.session import new_session
from safe_clear_plugin.web.api import form_data
from safe_clear_plugin.web.api.bodies import ReasonRequest
from safe_clear_plugin.web.api.change_set_bodies import (
    ApplyChangeSetRequest,
    ChangeSetRequest,
    ContinueChangeSetRequest,
    UndoChangeSetRequest,
    WaitingDagsRequest,
)
from safe_clear_plugin.web.api.change_set_json import change_set_json, sensors_json
from safe_clear_plugin.web.api.mistakes import Mistakes
from safe_clear_plugin.web.api.request_reader import read_body, read_query
from safe_clear_plugin.web.api.types import Empty
from safe_clear_plugin.web.api.wave_bodies import WavesChange
from safe_clear_plugin.web.app import request_hooks
from safe_clear_plugin.web.app.authorization import clearable_plan, readable_plan
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.change_sets import set_page
from safe_clear_plugin.web.change_sets.set_confirm import RejectedSet
from safe_clear_plugin.web.views.change_set_page_views import to_page
from safe_clear_plugin.web.waves.waves_form import WavesForm

NOTHING_CLEARED = "Nothing was cleared."


class ChangeSetViews:
    """Make, confirm, stop, continue and undo plans of several DAGs together."""

    @expose("/change_sets", methods=["POST"])
    def create_change_set(self) -> Any:
        """Plan the selection in each of the chosen DAGs, and store the plans as one change set."""
        sent = read_body(ChangeSetRequest)
        try:
            made = make_change_set(
                sent.choice(),
                sent.selection_of(""),
                caller().user,
                caller().actor,
                utcnow(),
                reason=sent.reason or "",
            )
        except Invalid as invalid:
            mistakes = Mistakes()
            for problem in invalid.problems:
                mistakes.add_problem(problem)
            raise mistakes.refusal(form_data.shapes(ChangeSetRequest)) from None
        return _json(made, 201)

    @expose("/plans/<plan_id>/waiting_dags.json")
    def waiting_dags_json(self, plan_id: str) -> Any:
        """The sensors of other DAGs that wait for the plan's tasks, directly or through other sensors."""
        plan = readable_plan(plan_id)
        read_query(Empty)
        return jsonify(sensors_json(waiting.list_waiting(plan, caller().user)))

    @expose("/plans/<plan_id>/waiting_dags", methods=["POST"])
    def plan_waiting_dags(self, plan_id: str) -> Any:
        """Plan the same selection again, with the DAGs that wait for it, as one change set."""
        plan = clearable_plan(plan_id)
        sent = read_body(WaitingDagsRequest)
        made = waiting.plan_with_waiting(
            plan,
            sent.by_sensor(),
            caller().user,
            caller().actor,
            utcnow(),
            without=tuple(dict.fromkeys(sent.without or ())),
            reason=sent.reason or "",
        )
        return _json(made, 201)

    @expose("/change_sets/<set_id>.json")
    def change_set_json(self, set_id: str) -> Any:
        """The change set with its plans and their findings, for programs."""
        read_query(Empty)
        return _json(readable_change_set(set_id, caller().user))

    @expose("/change_sets/<set_id>/apply", methods=["POST"])
    def apply_change_set(self, set_id: str) -> Any:
        """Have all plans of the set cleared, one after the other; or none."""
        of = clearable_change_set(set_id, caller().user, outcome=NOTHING_CLEARED)
        sent = read_body(ApplyChangeSetRequest)
        try:
            of = confirm_change_set(
                of, sent.fingerprint, sent.given(), caller().actor, utcnow(), pace=sent.pace()
            )
        except Refused as refused:
            return _not_confirmed(set_id, refused, sent.given())
        return _accepted(of)

    @expose("/change_sets/<set_id>/stop", methods=["POST"])
    def stop_change_set(self, set_id: str) -> Any:
        """Stop the clear and the undo of all plans after the current batch."""
        of = clearable_change_set(set_id, caller().user)
        read_body(Empty)
        return _json(control.stop_change_set(of, caller().actor, utcnow()))

    @expose("/change_sets/<set_id>/continue", methods=["POST"])
    def continue_change_set(self, set_id: str) -> Any:
        """Continue a set that stopped, or that waits for a person."""
        of = clearable_change_set(set_id, caller().user, outcome=NOTHING_CLEARED)
        sent = read_body(ContinueChangeSetRequest)
        return _accepted(
            control.continue_change_set(
                of,
                caller().actor,
                utcnow(),
                reason=sent.reason or "",
                skip_stopped=sent.skip_stopped,
                skip_failed=sent.skip_failed,
                change=NewWaves(sent.waves.waves()) if sent.waves else None,
            )
        )

    @expose("/change_sets/<set_id>/waves", methods=["POST"])
    def change_set_waves(self, set_id: str) -> Any:
        """Change the waves of a set in progress."""
        of = clearable_change_set(set_id, caller().user, outcome=NOTHING_CLEARED)
        sent = read_body(WavesChange)
        new = NewWaves(sent.waves.waves())
        return _accepted(change_set_waves(of, new, caller().actor, utcnow(), reason=sent.reason or ""))

    @expose("/change_sets/<set_id>/ask", methods=["POST"])
    def request_set_approval(self, set_id: str) -> Any:
        """Request approval of the set by a second person."""
        of = clearable_change_set(set_id, caller().user)
        reason = read_body(ReasonRequest).reason or ""
        try:
            return _json(approval.request_set_approval(of, reason, caller().actor, utcnow()))
        except Unconfirmed as refused:
            return _rejected(set_id, refused, SetConfirmation(reason))

    @expose("/change_sets/<set_id>/decline", methods=["POST"])
    def decline_change_set(self, set_id: str) -> Any:
        """Decline, or withdraw, a set that waits for approval."""
        of = clearable_change_set(set_id, caller().user)
        reason = read_body(ReasonRequest).reason or ""
        try:
            return _json(approval.decline_change_set(of, reason, caller().actor, utcnow()))
        except Unconfirmed as refused:
            return _rejected(set_id, refused, SetConfirmation())

    @expose("/change_sets/<set_id>/undo", methods=["POST"])
    def undo_change_set(self, set_id: str) -> Any:
        """Undo the set: whole, by DAG or by run."""
        readable_change_set(set_id, caller().user)
        sent = read_body(UndoChangeSetRequest)
        runs = sent.chosen()
        of = clearable_change_set(set_id, caller().user, only=tuple(runs), outcome="Nothing was restored.")
        return _accepted(
            undo.undo_change_set(
                of, runs, sent.reason or "", caller().actor, utcnow(), seen=sent.cleared_runs
            )
        )


def _json(of: ChangeSet, status: int = 200) -> Any:
    """Answer with the set; redirect a browser to the set's page."""
    if not request_hooks.wants_json():
        return to_page(of.id)
    with new_session() as session:
        return jsonify(change_set_json(of, utcnow(), session)), status


def _not_confirmed(set_id: str, refused: Refused, given: SetConfirmation) -> tuple[str, int]:
    """Answer a browser with the page and its errors; raise the error for a program."""
    if request_hooks.wants_json():
        raise refused
    if isinstance(refused, Unconfirmed):
        return _rejected(set_id, refused, given)
    if errors := refused.details.get("errors"):
        waves = WavesForm.rejected(request.form, errors)
        return set_page.changed_page(set_id, RejectedSet(given, (), waves)), refused.status
    if refused.details.get("dags"):
        return set_page.changed_page(set_id), refused.status
    raise refused


def _rejected(set_id: str, refused: Unconfirmed, given: SetConfirmation) -> tuple[str, int]:
    """Answer a browser with the page and the unmet requirements.

    Raise the error for a program, and if nobody can meet the requirements.
    """
    if request_hooks.wants_json() or refused.status != 422:
        raise refused
    waves = WavesForm(request.form)
    return set_page.changed_page(set_id, RejectedSet(given, refused.missing, waves)), refused.status


def _accepted(of: ChangeSet) -> Any:
    """Answer with the progress of the set: 202 while a driver has more to do, with the time to wait."""
    if not request_hooks.wants_json():
        return to_page(of.id)
    with new_session() as session:
        body = change_set_json(of, utcnow(), session)
    answer = jsonify(body)
    if seconds := body["retry_after"]:
        answer.status_code = 202
        answer.headers["Retry-After"] = str(math.ceil(seconds))
    return answer
