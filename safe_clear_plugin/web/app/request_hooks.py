"""Hooks of every request: the user, the token, the headers of the answer, and the form of refusals."""

from __future__ import annotations

from typing import Any, cast

from flask import Blueprint, Flask, Response, jsonify, redirect, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.wrappers import Response as BaseResponse

from safe_clear_plugin.airflow_api.platform import config
from safe_clear_plugin.core.problems import Invalid, Problem, Refused
from safe_clear_plugin.services import availability, failures
from safe_clear_plugin.web.app import assets, csrf, identity, links, templating, unsupported
from safe_clear_plugin.web.app.csrf import SAFE_METHODS
from safe_clear_plugin.web.app.identity import (
    Caller,
    csrf_token_is_valid,
    has_own_bearer,
    identify,
    known_caller,
    let_in,
)

MOUNTED_AT = "/pluginsv2"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

NO_TOKEN = Problem(
    "The page is more than 12 hours old or its token is not valid, so nothing was done.",
    "Reload the page and try again. A program must send a bearer token, "
    "or `application/json` where Airflow needs no login.",
)
FROM_ELSEWHERE = Problem(
    "The request was sent from a page of another site, so nothing was done.",
    "Open Safe Clear and try again from there. Behind a proxy, set `[api] base_url` to the address that "
    "users open.",
)


def protect(blueprint: Blueprint) -> None:
    """Put the checks before, and the headers behind, every view of the blueprint."""
    blueprint.record_once(lambda state: _exempt_from_flask_wtf(cast(Flask, state.app), blueprint))
    blueprint.before_request(_admit)
    blueprint.after_request(_add_headers)
    for error, handler in (
        (Refused, _refused),
        (Invalid, _invalid),
        (SQLAlchemyError, _failed),
        (HTTPException, _http_error),
        (InternalServerError, _server_error),
    ):
        blueprint.register_error_handler(cast(Any, error), cast(Any, handler))


def _exempt_from_flask_wtf(app: Flask, blueprint: Blueprint) -> None:
    # Flask-WTF keeps its token in Airflow's session cookie; ours is bound to the user and needs none.
    # Some Airflow commands load the views in an app without Flask-WTF.
    if csrf := app.extensions.get("csrf"):
        csrf.exempt(blueprint)


def _is_static() -> bool:
    return bool(request.endpoint and request.endpoint.endswith((".static", ".asset")))


def _is_current_file() -> bool:
    """Whether the address of a static file names the content that it has."""
    named = (request.view_args or {}).get("filename")
    file = templating.template_dir("static") / named if named else None
    return bool(file and file.is_file() and request.args.get("v") == assets.file_digest(file))


def _admit() -> BaseResponse | None:
    if _is_static():
        return None
    found = identify()
    if found is None:
        return _to_login()
    let_in(found)
    _keep_out_other_sites(found)
    availability.require_own_tables()
    unsupported.check()
    return None


def _keep_out_other_sites(found: Caller) -> None:
    """Refuse what a page of another site could have made the caller's browser send."""
    needed = csrf.demand(
        csrf.Sent(
            method=request.method,
            credential=found.credential,
            mimetype=request.mimetype,
            origin=request.headers.get("Origin"),
            fetch_site=request.headers.get("Sec-Fetch-Site"),
        ),
        hosts=_own_hosts(),
        origins=config.allowed_origins(),
    )
    if needed == "refusal":
        raise Refused(403, FROM_ELSEWHERE)
    if needed == "token" and not csrf_token_is_valid(found):
        raise Refused(403, NO_TOKEN)


def _own_hosts() -> list[str]:
    # A page of another site can set neither header.
    forwarded = request.headers.get("X-Forwarded-Host", "").split(",")
    return [request.host, *forwarded, csrf.host_of(links.base_url())]


def _to_login() -> BaseResponse:
    if wants_json() or request.method not in SAFE_METHODS:
        raise Refused(401, Problem("You are not logged in.", "Log in to Airflow, or send a valid token."))
    return redirect(_login_url(request.full_path.rstrip("?")))


def _login_url(path: str) -> str:
    """Return where to log in and come back to one of our pages."""
    base = links.base_url()
    at = f"{base}{MOUNTED_AT}" if "://" in base else request.root_url.rstrip("/")
    return identity.login_url(f"{at}{path}")


def _page_of_request() -> str:
    """Return the page to come back to: this one, or the one that a form was sent from."""
    if request.method in SAFE_METHODS:
        return request.full_path.rstrip("?")
    plan_id = (request.view_args or {}).get("plan_id")
    return f"{templating.ROUTE_BASE}/plans/{plan_id}" if plan_id else f"{templating.ROUTE_BASE}/"


def wants_json() -> bool:
    """Whether the caller is to be answered in JSON: it says so, sends JSON, or a bearer token.

    A proxy before Airflow may add a token to what browsers send: a page is what they accept.
    """
    if request.path.endswith(".json") or request.is_json:
        return True
    accepted = request.accept_mimetypes
    if accepted.best_match(["text/html", "application/json"], default="text/html") == "application/json":
        return True
    return has_own_bearer() and not any(kind == "text/html" for kind, _ in accepted)


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if not _is_static():
        response.headers["Cache-Control"] = "no-store"
    elif response.status_code in (200, 304) and _is_current_file():
        response.headers["Cache-Control"] = assets.FOR_EVER
    return response


def _refused(refused: Refused) -> tuple[Any, int]:
    problem = refused.problem
    if wants_json():
        return jsonify(error=problem.reason, remedy=problem.remedy, **refused.details), refused.status
    return templating.message(refused.status, problem, _way_in(refused.status)), refused.status


def _way_in(status: int) -> list[tuple[str, str]]:
    """Return the login where it could help, as a label and an address."""
    known = known_caller()
    if status == 401 or (status in (403, 404) and known and known.is_anonymous):
        return [("Log in to Airflow", _login_url(_page_of_request()))]
    return []


def _invalid(invalid: Invalid) -> tuple[Any, int]:
    suggestions = [one.to_json() for problem in invalid.problems for one in problem.suggestions]
    details: dict[str, Any] = {"suggestions": suggestions} if suggestions else {}
    if code := invalid.problems[0].code:
        details["code"] = code
    return _refused(Refused(422, invalid.problems[0], details))


def _http_error(error: HTTPException) -> Any:
    if error.code is None or error.code < 400:
        return error
    return _refused(
        Refused(error.code, Problem(error.description or error.name, "Go back, or start with a new plan."))
    )


def _server_error(error: InternalServerError) -> tuple[Any, int]:
    return _failed(error.original_exception or error)


def _failed(error: BaseException) -> tuple[Any, int]:
    """Answer with a sentence and an id; the log has the error itself, under that id."""
    outcome = "This step was rolled back. The plan's page shows everything that was cleared before."
    return _refused(failures.refused(error, f"answering {request.method} {request.endpoint}", outcome))
