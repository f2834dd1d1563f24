"""Renders the templates, in an environment of our own: other plugins share Flask's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from flask import request, url_for
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from safe_clear_plugin.core import input_limits
from safe_clear_plugin.core.dates import utcnow
from safe_clear_plugin.core.problems import Problem
from safe_clear_plugin.services.clear import approval
from safe_clear_plugin.web.app import assets, links
from safe_clear_plugin.web.app.identity import csrf_token, known_caller
from safe_clear_plugin.web.app.template_filters import FILTERS
from safe_clear_plugin.web.app.unsupported import unsupported

ENDPOINT = "SafeClear"
ROUTE_BASE = "/safe_clear"
REFUSAL = "message.html"

TITLES = {
    400: "Safe Clear can’t read this request",
    401: "You are not logged in",
    403: "You don’t have permission to do this",
    404: "Not found",
    405: "This address does not accept this kind of request",
    409: "Nothing was done",
    410: "The plan has expired",
    413: "The request is too large",
    422: "This plan is not possible",
    500: "Something went wrong",
    503: "Safe Clear is not available",
}


@dataclass(frozen=True, slots=True)
class NavState:
    """The place of a page in Safe Clear: the current link at its top, and the DAG that the links keep."""

    page: str = ""
    dag_id: str = ""

    @property
    def query(self) -> dict[str, str]:
        """Return what the links at the top carry along."""
        return {"dag_id": self.dag_id} if self.dag_id else {}


def template_dir(name: str) -> Path:
    """Return where ``templates`` or ``static`` lies: in the package once built, beside it in a checkout.

    :raises FileNotFoundError: when the package was built without it
    """
    package = Path(__file__).resolve().parent.parent.parent
    for place in (package / name, package.parent / name):
        if place.is_dir():
            return place
    raise FileNotFoundError(f"Safe Clear was installed without its folder {name}")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(template_dir("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment


def url(name: str, **values: Any) -> str:
    """Return the address of one of our views, right under any mount point."""
    return url_for(f"{ENDPOINT}.{name}", **values)


def static_url(name: str) -> str:
    """Return the address of a static file; it changes when the file does."""
    return url("static", filename=name, v=assets.file_digest(template_dir("static") / name))


def asset_url(page: str, kind: assets.Kind) -> str:
    """Return the address of the style or the script of a page; it changes when one of its files does."""
    bundle = assets.bundles(template_dir("static"))[page, kind]
    return url("asset", digest=bundle.digest, file=f"{page}.{kind}")


def render(template: str, **context: Any) -> str:
    """Render ``templates/safe_clear/<template>`` for the caller of this request."""
    known = known_caller()
    shared = {
        "url": url,
        "static_url": static_url,
        "asset_url": asset_url,
        "csrf_token": csrf_token(),
        "user_id": known.id if known else "",
        "user_name": str(known.user.get_name()) if known else "",
        "now": utcnow(),
        "limits": input_limits,
        "airflow_home": links.airflow_url("") or "/",
        "here": NavState("", request.args.get("dag_id", "")),
        "unsupported": unsupported(),
        # Of a plan's page alone.
        "undelivered": (),
        "member_of": None,
        "waiting_for_me": _waiting_for_me(template),
    }
    return _environment().get_template(f"safe_clear/{template}").render({**shared, **context})


def _waiting_for_me(template: str) -> int:
    """Return how many plans wait for the caller; parts of pages, and refusals, do not show it."""
    known = known_caller()
    if known is None or template.startswith("_") or template == REFUSAL:
        return 0
    return approval.count_waiting(known.user, utcnow())


def message(status: int, problem: Problem, actions: Sequence[tuple[str, str]] = ()) -> str:
    """Render a refusal that a person can act on: ``actions``, each a label and an address, come first."""
    actions = list(actions) if status in (401, 503) else [*actions, ("New plan", url("select"))]
    if status in (403, 409, 410, 422) and (plan_id := (request.view_args or {}).get("plan_id")):
        actions.insert(0, ("See the plan", url("plan", plan_id=plan_id)))
    title = TITLES.get(status, "The request failed")
    found = unsupported()
    return render(
        REFUSAL,
        title=title,
        problem=problem,
        actions=actions,
        status=status,
        # A page that says nothing else says it once.
        unsupported=found if found and found.problem != problem else None,
    )
