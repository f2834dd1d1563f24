"""What every request passes: who is it, is the token right, which headers go out, how refusals look."""

from __future__ import annotations

import logging
import threading
from typing import Any, cast

from flask import Blueprint, Flask, Response, jsonify, redirect, request
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.wrappers import Response as BaseResponse

from safe_clear_plugin.airflow_api import auth, settings
from safe_clear_plugin.airflow_api.session import new_session
from safe_clear_plugin.core.problems import Invalid, Problem, Refused
from safe_clear_plugin.storage import reading
from safe_clear_plugin.storage.table_setup import set_up_tables
from safe_clear_plugin.web import pages, unsupported
from safe_clear_plugin.web.identity import bearer_token, csrf_token_is_valid, identify, let_in

log = logging.getLogger(__name__)

MOUNTED_AT = "/pluginsv2"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

_tables_seen = threading.Event()


def protect(blueprint: Blueprint) -> None:
    """Put the checks before, and the headers behind, every view of the blueprint."""
    blueprint.record_once(lambda state: _exempt_from_flask_wtf(cast(Flask, state.app), blueprint))
    blueprint.before_request(_admit)
    blueprint.after_request(_add_headers)
    for error, handler in (
        (Refused, _refused),
        (Invalid, _invalid),
        (DBAPIError, _database_error),
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
    return bool(request.endpoint and request.endpoint.endswith(".static"))


def _admit() -> BaseResponse | None:
    if _is_static():
        return None
    found = identify()
    if found is None:
        return _to_login()
    let_in(found)
    if found.by_cookie and request.method not in SAFE_METHODS and not csrf_token_is_valid(found):
        raise Refused(
            403,
            Problem(
                "The request does not carry a valid token of this page, so nothing was done.",
                "Reload the page, or open it anew, and send it from there: half a day is too old.",
            ),
        )
    _require_tables()
    unsupported.look()
    return None


def _to_login() -> BaseResponse:
    if wants_json() or request.method not in SAFE_METHODS:
        raise Refused(401, Problem("You are not logged in.", "Log in to Airflow, or send a valid token."))
    return redirect(_login_url(request.full_path.rstrip("?")))


def _login_url(path: str) -> str:
    """Return where to log in and come back to one of our pages."""
    base = settings.base_url()
    at = f"{base}{MOUNTED_AT}" if "://" in base else request.root_url.rstrip("/")
    return auth.login_url(f"{at}{path}")


def _page_of_request() -> str:
    """Return the page that a form was sent from: its plan's, or the one to begin with."""
    plan_id = (request.view_args or {}).get("plan_id")
    return f"{pages.ROUTE_BASE}/plans/{plan_id}" if plan_id else f"{pages.ROUTE_BASE}/"


def _require_tables() -> None:
    if _tables_seen.is_set():
        return
    if settings.create_tables():
        set_up_tables()
    with new_session() as session:
        if not reading.tables_exist(session):
            raise Refused(
                503,
                Problem(
                    "Safe Clear's tables are not in the metadata DB.",
                    "Run `airflow db migrate`. Where that cannot be run with Safe Clear installed, set "
                    "`[safe_clear] create_tables`.",
                ),
            )
    _tables_seen.set()


def wants_json() -> bool:
    """Whether the caller is a program: it says so, or sends JSON, or carries a bearer token.

    Credentials of another scheme are those of a proxy before Airflow, which browsers send along.
    """
    if request.path.endswith(".json") or request.is_json or bearer_token() is not None:
        return True
    best = request.accept_mimetypes.best_match(["text/html", "application/json"], default="text/html")
    return bool(best == "application/json")


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if not _is_static():
        response.headers["Cache-Control"] = "no-store"
    return response


def _refused(refused: Refused) -> tuple[Any, int]:
    problem = refused.problem
    if wants_json():
        return jsonify(error=problem.reason, remedy=problem.remedy, **refused.details), refused.status
    actions = [("Log in to Airflow", _login_url(_page_of_request()))] if refused.status == 401 else []
    return pages.message(refused.status, problem, actions), refused.status


def _invalid(invalid: Invalid) -> tuple[Any, int]:
    return _refused(Refused(422, invalid.problems[0]))


def _http_error(error: HTTPException) -> Any:
    if error.code is None or error.code < 400:
        return error
    return _refused(
        Refused(error.code, Problem(error.description or error.name, "Go back, or start with a new plan."))
    )


def _server_error(_: InternalServerError) -> tuple[Any, int]:
    return _refused(
        Refused(
            500,
            Problem(
                "Something went wrong inside Safe Clear, and the step in hand was rolled back.",
                "The log of the api-server says what. A plan's page shows what was cleared, if anything was.",
            ),
        )
    )


def _database_error(error: DBAPIError) -> tuple[Any, int]:
    # Not the statement: its parameters may be thousands of ids.
    log.error("The metadata DB refused a statement: %s", error.orig)
    return _refused(
        Refused(
            503,
            Problem(
                "The metadata DB did not carry out a statement, so the step in hand was rolled back.",
                "Try again. If it stays so, see the log of the api-server; `airflow db migrate` may be due.",
            ),
        )
    )
