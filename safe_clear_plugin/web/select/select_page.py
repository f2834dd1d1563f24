"""Gathers what the page on which a selection is made shows, and what finds its DAG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import request

from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.services import authorization, availability
from safe_clear_plugin.web.api.queries import DagsQuery
from safe_clear_plugin.web.app import templating
from safe_clear_plugin.web.app.authorization import missing_rights
from safe_clear_plugin.web.app.identity import caller
from safe_clear_plugin.web.history import history_links
from safe_clear_plugin.web.select import live_answers
from safe_clear_plugin.web.select.draft import Draft, draft_in
from safe_clear_plugin.web.select.form import SelectionForm

MAX_DAGS = 50
"""DAGs that one search returns."""


def select_page(
    form: SelectionForm,
    problems: Sequence[Problem] = (),
    suggested: Sequence[tuple[str, Sequence[tuple[str, str]]]] = (),
    note: str = "",
) -> str:
    """Render the form with the answers to its fields.

    ``suggested`` are buttons that preview another selection at once, each with the fields of its form.
    ``note`` says why the form is shown.
    """
    availability.require_known_tables()
    now = utcnow()
    # The permission for a Dag in the address was checked before.
    may_clear_any = bool(form.dag_id.data) or authorization.may_clear_any(caller().user)
    error_count = sum(len(errors) for errors in form.errors.values()) + len(problems)
    answers = live_answers.answer(draft_in(form), now) if may_clear_any else None
    if answers and not error_count:
        form.add_errors(answers.field_errors)
    return templating.render(
        "select.html",
        form=form,
        may_clear_any=may_clear_any,
        needed="" if may_clear_any else missing_rights(),
        answers=answers,
        problems=problems,
        suggested=suggested,
        note=note,
        cleared=history_links.line_of_tab(request.args),
        error_count=error_count,
        here=templating.NavState("select", form.dag_id.data or ""),
    )


def answers_part(draft: Draft) -> str:
    """Render the answers alone, as the page's script asks for them."""
    availability.require_known_tables()
    return templating.render("_answers_all.html", answers=live_answers.answer(draft, utcnow()))


def dags_json(query: DagsQuery) -> dict[str, Any]:
    """Return the first DAGs that the caller may clear and whose id contains ``q``."""
    found = authorization.search_clearable_dags(query.q.strip(), caller().user, MAX_DAGS + 1)
    return {
        "items": [{"dag_id": dag.dag_id, "is_paused": dag.is_paused} for dag in found.dags[:MAX_DAGS]],
        "more": len(found.dags) > MAX_DAGS or not found.complete,
    }
