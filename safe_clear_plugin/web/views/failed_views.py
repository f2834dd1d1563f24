"""The views of failures: the start page and its JSON."""

from __future__ import annotations

from typing import Any

from flask import jsonify, request
from flask_appbuilder import expose
from werkzeug.datastructures import MultiDict

from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.problems import Invalid, Problem, Refused
from safe_clear_plugin.services import availability, failed_dags
from safe_clear_plugin.web.api import form_data
from safe_clear_plugin.web.api.failed_bodies import FailedPreviewRequest
from safe_clear_plugin.web.api.failed_query import FailedQuery
from safe_clear_plugin.web.api.mistakes import Mistakes
from safe_clear_plugin.web.api.request_reader import body_values, read_query, validate
from safe_clear_plugin.web.app import request_hooks
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.change_sets.refused_preview import RefusedPreview
from safe_clear_plugin.web.failed import failed_page
from safe_clear_plugin.web.failed.failed_json import failed_json
from safe_clear_plugin.web.views import failed_preview

NOTHING_TICKED = Problem("No Dag is ticked.", "Tick the Dags to preview.")


class FailedViews:
    """Failures in a window of time, by DAG."""

    @expose("/failed")
    def failed(self) -> Any:
        """List the failures in a window of time, in the DAGs that the caller may see, with previews."""
        return failed_part(request.args)

    @expose("/failed", methods=["POST"])
    def preview_failed(self) -> Any:
        """Preview the failures in the ticked DAGs. The query is the page's, shown again after a refusal."""
        values, mistakes = body_values(FailedPreviewRequest)
        sent = validate(FailedPreviewRequest, values, mistakes)
        if sent is None:
            if set(mistakes.errors()) != {"dag_ids"} or "dag_ids" in values or request_hooks.wants_json():
                raise mistakes.refusal(form_data.shapes(FailedPreviewRequest))
            return failed_part(request.args, RefusedPreview(422, NOTHING_TICKED))
        try:
            return failed_preview.preview_ticked(sent, utcnow())
        except (Refused, Invalid) as error:
            if request_hooks.wants_json():
                raise
            return failed_part(request.args, failed_preview.why_refused(sent, error))

    @expose("/failed.json")
    def failed_json(self) -> Any:
        """The same, for programs."""
        query = read_query(FailedQuery)
        availability.require_known_tables()
        try:
            wanted = query.filter(utcnow())
            found = failed_dags.list_failed(wanted, caller().user, offset=query.offset, limit=query.limit)
        except Invalid as invalid:
            mistakes = Mistakes(failed_page.errors_of(invalid))
            raise mistakes.refusal(form_data.shapes(FailedQuery)) from None
        return jsonify(failed_json(wanted, found))


def failed_part(args: MultiDict[str, str], refused: RefusedPreview | None = None) -> Any:
    """Answer a browser with the page, with mistakes at their fields; raise them for a program.

    ``refused`` is the reason why the preview that was just requested was not made.
    """
    availability.require_known_tables()
    values, mistakes = form_data.read(args, FailedQuery, blank_is_absent=True)
    query = validate(FailedQuery, values, mistakes)
    if query is None and (mistakes.unknown or mistakes.too_long or request_hooks.wants_json()):
        raise mistakes.refusal(form_data.shapes(FailedQuery))
    return failed_page.failed_page(args, query, mistakes, utcnow(), refused)
