"""Gathers what the page on which a selection is made shows, and what finds its DAG."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from safe_clear_plugin.airflow_api import auth, compatibility
from safe_clear_plugin.airflow_api.session import new_session
from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.web import answers, pages
from safe_clear_plugin.web.bodies import storable
from safe_clear_plugin.web.forms import SelectionForm
from safe_clear_plugin.web.identity import caller

MOST_DAGS = 50
"""DAGs that one search returns."""


def select_page(form: SelectionForm, problems: list[Problem] | None = None) -> str:
    """Render the form with the answers to what is filled in."""
    compatibility.require_known_tables()
    now = datetime.now(timezone.utc)
    problems = problems or []
    # Whoever comes with a DAG has been asked for it.
    may_clear_any = bool(form.dag_id.data) or bool(_found_dags("", 1))
    return pages.render(
        "select.html",
        form=form,
        may_clear_any=may_clear_any,
        answers=answers.answer(form, now) if may_clear_any else None,
        problems=problems,
        error_count=sum(len(errors) for errors in form.errors.values()) + len(problems),
        here=pages.Here("select", form.dag_id.data or ""),
    )


def answers_part(form: SelectionForm, browser_timezone: str) -> str:
    """Render the answers alone, as the page's script asks for them."""
    compatibility.require_known_tables()
    found = answers.answer(form, datetime.now(timezone.utc), browser_timezone)
    return pages.render("_answers_all.html", answers=found, form=form)


def dags_json(args: Mapping[str, str]) -> dict[str, Any]:
    """Return the first DAGs that the caller may clear and whose id contains ``q``."""
    found = _found_dags(storable(args.get("q", "")).strip()[:250], MOST_DAGS + 1)
    return {
        "items": [{"dag_id": dag.dag_id, "is_paused": dag.is_paused} for dag in found[:MOST_DAGS]],
        "more": len(found) > MOST_DAGS,
    }


def _found_dags(text: str, limit: int) -> list[auth.ClearableDag]:
    with new_session() as session:
        return auth.search_clearable_dags(text, caller().user, session, limit)
