"""Gathers what the page on which a selection is made shows, and what finds its DAG."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.services import authorization, availability
from safe_clear_plugin.web.api.queries import DagsQuery
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.app.authorization import missing_rights
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.select import live_answers
from safe_clear_plugin.web.select.draft import Draft, draft_in
from safe_clear_plugin.web.select.form import SelectionForm

MAX_DAGS = 50
"""DAGs that one search returns."""


def select_page(form: SelectionForm, problems: Sequence[Problem] = ()) -> str:
    """Render the form with the answers to what is filled in."""
    availability.require_known_tables()
    now = datetime.now(timezone.utc)
    # The permission for a Dag in the address was checked before.
    may_clear_any = bool(form.dag_id.data) or _may_clear_any()
    return templating.render(
        "select.html",
        form=form,
        may_clear_any=may_clear_any,
        needed="" if may_clear_any else missing_rights(),
        answers=live_answers.answer(draft_in(form), now) if may_clear_any else None,
        problems=problems,
        error_count=sum(len(errors) for errors in form.errors.values()) + len(problems),
        here=templating.NavState("select", form.dag_id.data or ""),
    )


def answers_part(draft: Draft) -> str:
    """Render the answers alone, as the page's script asks for them."""
    availability.require_known_tables()
    return templating.render(
        "_answers_all.html", answers=live_answers.answer(draft, datetime.now(timezone.utc))
    )


def dags_json(query: DagsQuery) -> dict[str, Any]:
    """Return the first DAGs that the caller may clear and whose id contains ``q``."""
    found = authorization.search_clearable_dags(query.q.strip(), caller().user, MAX_DAGS + 1)
    return {
        "items": [{"dag_id": dag.dag_id, "is_paused": dag.is_paused} for dag in found.dags[:MAX_DAGS]],
        "more": len(found.dags) > MAX_DAGS or not found.complete,
    }


def _may_clear_any() -> bool:
    # Where there was no time to ask for every DAG, one can be typed, and is asked for then.
    found = authorization.search_clearable_dags("", caller().user, 1)
    return bool(found.dags) or not found.complete
