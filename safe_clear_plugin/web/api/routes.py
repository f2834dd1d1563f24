"""The requests and answers of each route, by the name of its view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import BaseModel

from safe_clear_plugin.web.api import (
    answers,
    bodies,
    change_set_answers,
    change_set_bodies,
    failed_answers,
    failed_bodies,
    failed_query,
    history_answers,
    preview_bodies,
    queries,
    row_answers,
    step_answers,
    wave_bodies,
)
from safe_clear_plugin.web.api.types import Empty, Request

HTML = "text/html"
JSON = "application/json"
REDIRECTS: Mapping[int, str] = {302: "Log in first.", 303: "The page of the plan, or of the change set."}
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
    422: "The input can't be used; `errors` has the reasons by field.",
    503: "The database, or an option of Safe Clear, does not allow it now.",
}
OF_EVERY_ROUTE = (401, 403, 404, 422, 503)
OF_EVERY_POST = (400, *OF_EVERY_ROUTE, 413, 415)


@dataclass(frozen=True, slots=True)
class Route:
    """The request of a route, and its answers by status and content type; ``None`` is any text."""

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
) -> Route:
    refusals = (*OF_EVERY_POST, *more)
    return Route({status: {JSON: model}}, body=body, refusals=refusals, redirects=(303,))


def _of_set(body: type[Request], *more: int, status: int = 200) -> Route:
    return _post(change_set_answers.ChangeSetAnswer, body, *more, status=status)


def _driven(model: type[BaseModel], body: type[Request]) -> Route:
    """Return a route that has a driver do something: 202 while there is more of it, else 200."""
    accepted = _post(model, body, 409, 410, status=202)
    return replace(accepted, answers={**accepted.answers, 200: {JSON: model}})


ROUTES: Mapping[str, Route] = {
    "start": _page(queries.SelectQuery),
    "select": _page(queries.SelectQuery),
    "failed": _page(failed_query.FailedQuery),
    "preview_failed": Route(
        {},
        failed_query.FailedQuery,
        failed_bodies.FailedPreviewRequest,
        (*OF_EVERY_POST, 409),
        redirects=(303,),
    ),
    "failed_json": _json(failed_answers.FailedDags, failed_query.FailedQuery),
    "openapi": Route({200: {JSON: None}}, refuses_in=(JSON,)),
    "dags_json": _json(answers.Dags, queries.DagsQuery),
    "answers": Route({200: {HTML: None}}, body=bodies.AnswersRequest, refusals=OF_EVERY_POST),
    "edit": Route({200: {HTML: None}}, body=bodies.SelectionRequest, refusals=OF_EVERY_POST),
    "tab": _page(queries.TabQuery),
    "preview": _post(answers.Plan, preview_bodies.PreviewRequest, status=201),
    "plans": _page(queries.HistoryQuery),
    "history_json": _json(history_answers.History, queries.HistoryQuery),
    "create_plan": _post(answers.Plan, bodies.SelectionRequest, status=201),
    "plans_json": _json(answers.Plans, queries.PlansQuery),
    "plan": _page(queries.PlanQuery),
    "plan_json": _json(answers.Plan, queries.PageQuery),
    "task_instances": _json(row_answers.TaskInstances, queries.RowsPageQuery),
    "task_instances_csv": Route({200: {"text/csv": None}}, queries.SortedRowsQuery, redirects=(302,)),
    "grid": _page(queries.PlanQuery),
    "help_page": _page(),
    "rows": _page(queries.PlanQuery),
    "finding": _page(queries.FindingQuery),
    "finding_json": _json(row_answers.FindingRows, queries.PageQuery),
    "progress": _json(step_answers.Progress),
    "undo_preview": _page(queries.UndoQuery),
    "undo_grid": _page(queries.PlanQuery),
    "undo_preview_json": _json(step_answers.UndoPreview, queries.UndoQuery),
    "step": Route({}, refusals=(401, 404, 405, 503), redirects=(302, 303)),
    "exclude": _post(answers.Plan, bodies.ExcludeRequest, status=201),
    "extend": _post(answers.Plan, bodies.WidenRequest, status=201),
    "remaining": _post(answers.Plan, Empty, status=201),
    "apply": _driven(step_answers.Clear, bodies.ApplyRequest),
    "go_on": _driven(step_answers.Clear, wave_bodies.ContinueRequest),
    "change_waves": _driven(step_answers.Clear, wave_bodies.WavesChange),
    "discard": _post(step_answers.Discarded, Empty, 409),
    "stop": _post(step_answers.Clear, Empty),
    "request_approval": _post(answers.PlanItem, bodies.ReasonRequest, 409, 410),
    "decline": _post(answers.PlanItem, bodies.ReasonRequest, 409, 410),
    "send_again": _post(answers.PlanItem, Empty, 409),
    "pause": _post(step_answers.Paused, bodies.PauseRequest, 409),
    "undo": _driven(step_answers.Undo, bodies.UndoRequest),
    "create_change_set": _of_set(change_set_bodies.ChangeSetRequest, status=201),
    "waiting_dags_json": _json(change_set_answers.Sensors),
    "plan_waiting_dags": _of_set(change_set_bodies.WaitingDagsRequest, status=201),
    "waiting_form": Route({200: {HTML: None}}, redirects=(302, 303)),
    "include_waiting": Route(
        {},
        body=change_set_bodies.IncludeWaitingRequest,
        refusals=(*OF_EVERY_POST, 409),
        redirects=(303,),
    ),
    "change_set_json": _json(change_set_answers.ChangeSetAnswer),
    "apply_change_set": _driven(change_set_answers.ChangeSetAnswer, change_set_bodies.ApplyChangeSetRequest),
    "stop_change_set": _of_set(Empty),
    "continue_change_set": _driven(
        change_set_answers.ChangeSetAnswer, change_set_bodies.ContinueChangeSetRequest
    ),
    "request_set_approval": _of_set(bodies.ReasonRequest, 409, 410),
    "change_set_waves": _driven(change_set_answers.ChangeSetAnswer, wave_bodies.WavesChange),
    "decline_change_set": _of_set(bodies.ReasonRequest, 409, 410),
    "undo_change_set": _driven(change_set_answers.ChangeSetAnswer, change_set_bodies.UndoChangeSetRequest),
    "change_set": _page(),
    "change_set_step": Route({}, refusals=(401, 404, 405, 503), redirects=(302, 303)),
    "change_set_progress": _json(change_set_answers.SetProgress),
    "change_set_undo_preview": _page(queries.SetUndoQuery),
    "change_set_undo_preview_json": _json(change_set_answers.SetUndoPreview, queries.SetUndoQuery),
    "preview_change_set_again": Route(
        {}, body=change_set_bodies.AgainRequest, refusals=(*OF_EVERY_POST, 409), redirects=(303,)
    ),
    "asset": Route({200: {"text/css": None, "text/javascript": None}}, refusals=(404,)),
    "static": Route({200: {"*/*": None}}, refusals=(404,)),
}
"""All routes but the one for addresses that do not exist."""
