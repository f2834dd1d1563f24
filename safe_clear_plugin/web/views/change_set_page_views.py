"""The pages of change sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, jsonify, redirect
from flask_appbuilder import expose

from safe_clear_plugin.core.change_set import ChangeSet
from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.problems import Invalid, Problem, Refused
from safe_clear_plugin.services.change_sets.again import preview_again
from safe_clear_plugin.services.change_sets.reruns import reruns_of
from safe_clear_plugin.services.change_sets.stored import clearable_change_set, readable_change_set
from safe_clear_plugin.services.change_sets.undo import preview_set_undo
from safe_clear_plugin.services.session import new_session
from safe_clear_plugin.web.api.change_set_bodies import AgainRequest
from safe_clear_plugin.web.api.change_set_json import set_undo_preview_json
from safe_clear_plugin.web.api.queries import SetUndoQuery
from safe_clear_plugin.web.api.request_reader import read_body, read_query
from safe_clear_plugin.web.api.types import Empty
from safe_clear_plugin.web.app import request_hooks, templating
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.change_sets import set_page, set_undo, standing
from safe_clear_plugin.web.change_sets.refused_preview import Fields, refused_preview

STEPS = "apply, stop, continue, waves, ask, decline, again"
"""The last part of the addresses that only take a POST."""


class ChangeSetPageViews:
    """The page of a change set, its progress, and the preview of its undo."""

    @expose("/change_sets/<set_id>")
    def change_set(self, set_id: str) -> str:
        """The page for the set's status: to confirm it, its progress, or its receipt."""
        of = readable_change_set(set_id, caller().user)
        read_query(Empty)
        with new_session() as session:
            return set_page.change_set_page(of, session)

    @expose(f"/change_sets/<set_id>/<any({STEPS}):step>")
    def change_set_step(self, set_id: str, step: str) -> Any:
        """Redirect to the set: the browser keeps the address of a form while it shows the form's answer."""
        if request_hooks.wants_json():
            raise Refused(405, Problem(f"{step} accepts POST only.", "Nothing was done."))
        return to_page(set_id)

    @expose("/change_sets/<set_id>/progress.json")
    def change_set_progress(self, set_id: str) -> Response:
        """The progress of clear and undo, plan by plan, and the states of the cleared task instances now."""
        of, now = readable_change_set(set_id, caller().user), utcnow()
        read_query(Empty)
        with new_session() as session:
            counted = not of.is_under_way
            found = reruns_of(of, now, session) if counted else None
            return jsonify(standing.progress_json(of, found, now, session))

    @expose("/change_sets/<set_id>/undo")
    def change_set_undo_preview(self, set_id: str) -> str:
        """The preview of an undo of the set, or of some of its Dags."""
        readable_change_set(set_id, caller().user)
        chosen = read_query(SetUndoQuery, page=True).chosen
        of = clearable_change_set(set_id, caller().user, only=chosen, outcome="Nothing was restored.")
        return set_undo.undo_page(of, chosen, utcnow())

    @expose("/change_sets/<set_id>/undo.json")
    def change_set_undo_preview_json(self, set_id: str) -> Response:
        """The same, for programs."""
        readable_change_set(set_id, caller().user)
        chosen = read_query(SetUndoQuery).chosen
        of = clearable_change_set(set_id, caller().user, only=chosen, outcome="Nothing was restored.")
        return jsonify(set_undo_preview_json(of, preview_set_undo(of, chosen, utcnow())))

    @expose("/change_sets/<set_id>/again", methods=["POST"])
    def preview_change_set_again(self, set_id: str) -> Any:
        """Preview the set again, whole or without some of its Dags."""
        of = readable_change_set(set_id, caller().user)
        sent = read_body(AgainRequest)
        try:
            made = preview_again(of, sent.left_out, caller().user, caller().actor, utcnow())
        except (Refused, Invalid) as error:
            if request_hooks.wants_json():
                raise
            return _refused(of, sent.left_out, error)
        return to_page(made.id)


def to_page(set_id: str) -> Any:
    """Answer with a redirect to the page of a set."""
    return redirect(templating.url("change_set", set_id=set_id), code=303)


def _refused(of: ChangeSet, left_out: Sequence[str], error: Refused | Invalid) -> tuple[str, int]:
    """Render why the set could not be previewed again, with a button that previews the other DAGs."""

    def without(named: Sequence[str]) -> Fields:
        return tuple(("without", dag_id) for dag_id in (*left_out, *named))

    asked = [dag_id for dag_id in of.made_from["dag_ids"] or of.dag_ids if dag_id not in left_out]
    refused = refused_preview(error, asked, without)
    again = templating.url("preview_change_set_again", set_id=of.id)
    page = templating.render("change_set_refused.html", of=of, refused=refused, preview_url=again)
    return page, refused.status
