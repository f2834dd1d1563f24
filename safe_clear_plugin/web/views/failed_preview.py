"""The preview of the DAGs that are ticked on the start page, and the reason if there is no preview."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flask import redirect

from safe_clear_plugin.core.problems import Invalid, Refused
from safe_clear_plugin.services.change_sets.dag_choice import DagChoice
from safe_clear_plugin.services.change_sets.make import make_change_set
from safe_clear_plugin.services.planning.preview import make_plan
from safe_clear_plugin.web.api.failed_bodies import FailedPreviewRequest
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.app.authorization import require_may_clear
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.change_sets.refused_preview import Fields, RefusedPreview, refused_preview
from safe_clear_plugin.web.views import actions


def preview_ticked(sent: FailedPreviewRequest, now: datetime) -> Any:
    """Plan the failures in the DAGs, and redirect to the plan, or to the change set of several DAGs.

    :raises Refused: when it cannot be planned
    :raises Invalid: when nothing matches
    """
    window, dag_ids = sent.window(), sent.chosen
    if len(dag_ids) == 1:
        require_may_clear(dag_ids[0])
        return actions.planned(make_plan(window.selection(dag_ids[0]), caller().actor, now))
    made = make_change_set(
        DagChoice(dag_ids=dag_ids), window.selection(""), caller().user, caller().actor, now
    )
    return redirect(templating.url("change_set", set_id=made.id), code=303)


def why_refused(sent: FailedPreviewRequest, error: Refused | Invalid) -> RefusedPreview:
    """Return the page's values for a refused preview."""

    def without(named: Sequence[str]) -> Fields:
        left = (("dag_ids", dag_id) for dag_id in sent.chosen if dag_id not in named)
        return (("failed_from", sent.failed_from), ("failed_to", sent.failed_to), *left)

    return refused_preview(error, sent.chosen, without)
