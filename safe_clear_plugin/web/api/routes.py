"""What each route takes and answers, by the name of its view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from safe_clear_plugin.web.api import answers, bodies, queries, row_answers, step_answers
from safe_clear_plugin.web.api.types import Empty, Request

HTML = "text/html"
JSON = "application/json"
REDIRECTS: Mapping[int, str] = {302: "Log in first.", 303: "The page of the plan."}
REFUSALS: Mapping[int, str] = {
    400: "The body cannot be read.",
    401: "Nobody is logged in, or the token is not valid.",
    403: "The caller may not do this, or the token of the form is not valid.",
    404: "There is no such thing, or the caller may not see it.",
    405: "The address takes another method.",
    409: "Nothing was done, since things are not as they were.",
    410: "The plan has expired.",
    413: "The body is too long.",
    415: "The body is neither JSON nor form data.",
    422: "What was sent cannot be used; `errors` says what, by field.",
    503: "The database, or an option of Safe Clear, does not allow it now.",
}
OF_EVERY_ROUTE = (401, 403, 404, 422, 503)
OF_EVERY_POST = (400, *OF_EVERY_ROUTE, 413, 415)


@dataclass(frozen=True, slots=True)
class Route:
    """What a route takes and answers: for each status, what of each content type; ``None`` is any text."""

    answers: Mapping[int, Mapping[str, type[BaseModel] | None]]
    query: type[Request] = Empty
    body: type[Request] | None = None
    refusals: tuple[int, ...] = OF_EVERY_ROUTE
    redirects: tuple[int, ...] = ()
    refuses_in: tuple[str, ...] = (JSON, HTML)


def _page(query: type[Request] = Empty) -> Route:
    return Route({200: {HTML: None}}, query, redirects=(302,))


def _json(model: type[BaseModel], query: type[Request] = Empty) -> Route:
    return Route({200: {JSON: model}}, query, refuses_in=(JSON,))


def _post(
    model: type[BaseModel],
    body: type[Request],
    *more: int,
    status: int = 200,
    redirects: tuple[int, ...] = (303,),
) -> Route:
    refusals = (*OF_EVERY_POST, *more)
    return Route({status: {JSON: model}}, body=body, refusals=refusals, redirects=redirects)


ROUTES: Mapping[str, Route] = {
    "select": _page(queries.SelectQuery),
    "openapi": Route({200: {JSON: None}}, refuses_in=(JSON,)),
    "dags_json": _json(answers.Dags, queries.DagsQuery),
    "answers": Route({200: {HTML: None}}, body=bodies.AnswersRequest, refusals=OF_EVERY_POST),
    "plans": _page(queries.PlansQuery),
    "create_plan": _post(answers.Plan, bodies.SelectionRequest, status=201),
    "plans_json": _json(answers.Plans, queries.PlansQuery),
    "plan": _page(queries.PlanQuery),
    "plan_json": _json(answers.Plan, queries.PageQuery),
    "task_instances": _json(row_answers.TaskInstances, queries.RowsPageQuery),
    "task_instances_csv": Route({200: {"text/csv": None}}, queries.SortedRowsQuery, redirects=(302,)),
    "grid": _page(queries.PlanQuery),
    "rows": _page(queries.PlanQuery),
    "finding": _page(queries.FindingQuery),
    "finding_json": _json(row_answers.FindingRows, queries.PageQuery),
    "progress": _json(step_answers.Progress),
    "undo_preview": _page(queries.UndoQuery),
    "undo_preview_json": _json(step_answers.UndoPreview, queries.UndoQuery),
    "step": Route({}, refusals=(401, 404, 405, 503), redirects=(302, 303)),
    "exclude": _post(answers.Plan, bodies.ExcludeRequest, status=201),
    "extend": _post(answers.Plan, bodies.WidenRequest, status=201),
    "remaining": _post(answers.Plan, Empty, status=201),
    "apply": _post(step_answers.Clear, bodies.ApplyRequest, 409, 410),
    "stop": _post(step_answers.Clear, Empty),
    "request_approval": _post(answers.PlanItem, bodies.ReasonRequest, 409, 410),
    "decline": _post(answers.PlanItem, bodies.ReasonRequest, 409, 410),
    "undo": _post(step_answers.Undo, bodies.UndoRequest, 409, 410),
    "static": Route({200: {"*/*": None}}, refusals=(404,)),
}
"""All routes but the one for addresses that do not exist."""
