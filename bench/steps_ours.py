"""Safe Clear's way, through its pages and its services."""

from __future__ import annotations

import html
import json
import re
from urllib.parse import urlencode
from uuid import UUID

from sqlalchemy import func, insert, literal, select

from bench.scopes import Scope, run_id
from bench.stage import Action, Stage
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.driver.loop import Driver
from safe_clear_plugin.services.plans import get_plan
from safe_clear_plugin.services.undo.undo import undo_plan
from safe_clear_plugin.storage.clear import drift
from safe_clear_plugin.storage.tables import plan as plan_table
from tests.db.acting import ME, clear, confirm, now, plan_of

HOME = "/pluginsv2/safe_clear"
TOKEN = re.compile(r'name="csrf_token"[^>]* value="([^"]*)"')
FORM = "application/x-www-form-urlencoded"
LONGEST = 600


def preview(stage: Stage, scope: Scope) -> Action:
    """From the form that is sent to the page of the plan, as a person sees it."""
    page = stage.browser.send("GET", f"{HOME}/select", whole=True).body.decode()
    token = TOKEN.search(page)
    assert token is not None, "the form has no token"
    fields = {**_fields(scope), "csrf_token": html.unescape(token[1])}
    places: list[str] = []

    def run() -> int:
        made = stage.browser.send("POST", f"{HOME}/plans", urlencode(fields).encode(), content_type=FORM)
        if made.status != 303:
            raise RuntimeError(f"{made.status} instead of a plan: {made.body!r}")
        places.append(made.headers["location"])
        return made.size + stage.browser.send("GET", places[-1]).size

    return Action(run, lambda: get_plan(places[-1].rsplit("/", 1)[1]).task_instances)


def apply(_: Stage, scope: Scope) -> Action:
    """Every batch of a plan that was made before, to its last commit."""
    plans = [_plan(scope)]

    def run() -> int:
        confirm(plans[0])
        Driver().run_until_idle(LONGEST)
        plans.append(get_plan(plans[0].id))
        return 0

    return Action(run, lambda: plans[-1].cleared)


def http_apply(stage: Stage, scope: Scope) -> Action:
    """The same as a program asks for it."""
    plan = _plan(scope)
    confirmation = {
        "fingerprint": plan.fingerprint,
        "reason": "because",
        "confirm_dag_id": plan.dag_id,
        "acknowledge": [finding.code for finding in plan.findings],
    }

    def run() -> int:
        address = f"{HOME}/plans/{plan.id}/apply"
        answer = stage.program.send("POST", address, json.dumps(confirmation).encode(), whole=True)
        # The application is not served here, so it has no thread of its own.
        Driver().run_until_idle(LONGEST)
        return answer.size

    return Action(run, lambda: get_plan(plan.id).cleared)


def undo(_: Stage, scope: Scope) -> Action:
    """Every batch of the undo of a plan that was applied before."""
    plans = [clear(_plan(scope))]

    def run() -> int:
        undo_plan(plans[0], (), "I mixed the date", ME, now())
        Driver().run_until_idle(LONGEST)
        plans.append(get_plan(plans[0].id))
        return 0

    return Action(run, lambda: plans[-1].put_back)


def compare(_: Stage, scope: Scope) -> Action:
    """Compare all of a plan with the database; nothing has changed."""
    plan = _plan(scope)

    def run() -> int:
        with new_session() as session:
            moved, total = drift.find_drift(plan, session)
        assert (moved, total) == ([], 0)
        return 0

    return Action(run, lambda: plan.task_instances)


def history(stage: Stage, scope: Scope) -> Action:
    """The page with the plans; the scope says how many."""
    count = "SELECT count(*) FROM safe_clear_plan"
    if not stage.scalar(count):
        _copy_plan(plan_of(Selection(scope.dag_id, run_id=(run_id(0),))), scope.task_instances - 1)

    def run() -> int:
        return stage.browser.send("GET", f"{HOME}/plans").size

    return Action(run, lambda: int(stage.scalar(count)))


def _copy_plan(plan: PlanSummary, times: int) -> None:
    """Let there have been as many plans, a minute apart."""
    with new_session() as session:
        numbers = select(func.generate_series(1, times).label("n")).subquery()
        values = {
            **{column.name: column for column in plan_table.c},
            "id": func.gen_random_uuid(),
            "created_at": plan_table.c.created_at - func.make_interval(0, 0, 0, 0, 0, numbers.c.n),
            "status": literal("applied"),
        }
        source = select(*values.values()).join(numbers, literal(True)).where(plan_table.c.id == UUID(plan.id))
        session.execute(insert(plan_table).from_select(list(values), source))


def _plan(scope: Scope) -> PlanSummary:
    dates = scope.dates()
    if dates is None:
        assert scope.run_id is not None
        return plan_of(Selection(scope.dag_id, run_id=(scope.run_id,)))
    return plan_of(Selection(scope.dag_id, date_from=dates[0], date_to=dates[1]))


def _fields(scope: Scope) -> dict[str, str]:
    if scope.run_id:
        return {"dag_id": scope.dag_id, "run_id": scope.run_id}
    assert scope.date_from is not None
    assert scope.date_to is not None
    return {"dag_id": scope.dag_id, "date_from": scope.date_from, "date_to": scope.date_to}
