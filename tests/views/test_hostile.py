"""Names, texts and requests that mean harm: none becomes markup, and none makes the server fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

import pytest
from airflow.models.taskinstance import TaskInstance, TaskInstanceNote
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text, update

from safe_clear_plugin.core.selection import Selection
from tests.support import options
from tests.support.auth import bearer
from tests.support.factories import make_run, set_states, store_dag
from tests.support.scenes import FAILED_RUN, START, etl_dag
from tests.views import actions

MARKUP = "\"'><xss onload=alert(1)>{{7*7}}</script><script>xss()</script>&amp;"
RIGHT_TO_LEFT = "\u202eמשימה\u202c"
LONG = "x" * 240
NOWHERE = ("/static/",)
MAX_PAGES = 60
HARMLESS = {200, 201, 303, 400, 403, 404, 409, 410, 413, 415, 422}


class Page(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def links(self) -> Iterator[str]:
        for tag, attributes in self.tags:
            if tag == "a" and (href := attributes.get("href")):
                yield href

    def troubles(self) -> list[str]:
        """Say what must not be in any page of ours."""
        found = []
        for tag, attributes in self.tags:
            found += [f"<{tag} {name}>" for name in attributes if name.startswith("on") or name == "style"]
            if tag in ("xss", "style") or (tag == "script" and "src" not in attributes):
                found.append(f"<{tag}>")
            for name in ("href", "src", "action"):
                if (attributes.get(name) or "").strip().lower().startswith(("javascript:", "data:")):
                    found.append(f"<{tag} {name}={attributes[name]}>")
        return found


@pytest.fixture
def hostile(session, monkeypatch) -> dict[str, Any]:
    """A DAG with a long right-to-left name; a run, a task, a note and a user with markup in theirs."""
    monkeypatch.setenv("AIRFLOW__SCHEDULER__ALLOWED_RUN_ID_PATTERN", r"[\s\S]*")
    dag = etl_dag(f"dag_{RIGHT_TO_LEFT.strip(chr(0x202E) + chr(0x202C))}_{LONG[:200]}")
    store_dag(dag, session=session)
    runs = [f"manual__{MARKUP}", RIGHT_TO_LEFT, f"run {LONG}", "line\nbreak"]
    for day, run_id in enumerate(runs, 1):
        run = make_run(
            dag, session=session, logical_date=START.replace(day=day), run_id=run_id[:250], state="failed"
        )
        set_states(run, FAILED_RUN, session=session)
    first = select(TaskInstance).where(TaskInstance.task_id == "extract").limit(1)
    session.scalars(first).one().task_instance_note = TaskInstanceNote(content=MARKUP, user_id="1")
    session.commit()
    session.execute(
        update(TaskInstance)
        .where(TaskInstance.task_id == "load", TaskInstance.run_id == RIGHT_TO_LEFT)
        .values(task_id=f"gone {MARKUP}", state="success")
        .execution_options(synchronize_session=False)
    )
    session.execute(text("update ab_user set first_name = :name, last_name = :name"), {"name": MARKUP[:60]})
    session.commit()
    return {"dag_id": dag.dag_id, "date_from": "2026-01-01", "date_to": "2026-01-31"}


def crawl(client: Any, start: str) -> dict[str, int]:
    """Follow every link of ours from a page on; no page may hold what it should not."""
    waiting, seen = [start], dict[str, int]()
    while waiting and len(seen) < MAX_PAGES:
        address = waiting.pop(0)
        if address in seen:
            continue
        answer = client.get(address, headers={**bearer("admin"), "Accept": "text/html"})
        seen[address] = answer.status_code
        assert answer.status_code < 500, address
        if "html" not in answer.content_type:
            continue
        page = Page(answer.text)
        assert page.troubles() == [], address
        for link in page.links():
            target = urldefrag(urljoin(f"http://localhost{address}", link)).url
            parts = urlsplit(target)
            ours = parts.path.startswith("/safe_clear/") and not any(part in parts.path for part in NOWHERE)
            if ours and parts.netloc == "localhost":
                waiting.append(parts.path + (f"?{parts.query}" if parts.query else ""))
    return seen


def test_the_page_of_what_failed_makes_no_markup_of_names(client, hostile):
    address = "/safe_clear/failed?from=2026-01-01&to=2026-01-31"
    text = client.get(address, headers={**bearer("admin"), "Accept": "text/html"}).text
    assert hostile["dag_id"] in unescape(text)
    assert Page(text).troubles() == []


def test_no_page_of_a_plan_makes_markup_of_names(client, hostile):
    plan = make_plan(client, hostile)
    seen = crawl(client, actions.path(plan))
    assert len(seen) > 10
    assert set(seen.values()) <= {200, 404}
    actions.apply_all(client, plan, reason=MARKUP, **everything_asked(plan))
    after = crawl(client, actions.path(plan))
    undo = crawl(client, actions.path(plan, "/undo"))
    assert {status for found in (after, undo) for status in found.values()} <= {200, 404}
    csv = actions.get(client, plan, "/task_instances.csv")
    assert csv.status_code == 200
    assert "text/csv" in csv.content_type


def make_plan(client: Any, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/safe_clear/plans", json=body, headers=bearer("admin"))
    assert answer.status_code == 201, answer.text
    plan: dict[str, Any] = answer.get_json()
    return plan


def everything_asked(plan: dict[str, Any]) -> dict[str, Any]:
    codes = [finding["code"] for finding in plan["findings"] if finding["level"] == "acknowledge"]
    return {"acknowledge": codes, "confirm_dag_id": plan["dag_id"]}


def test_a_refusal_quotes_hostile_text_as_text(client, hostile):
    for body in (
        {**hostile, "task_regex": f"({MARKUP}"},
        {**hostile, "exclude_task_id": [MARKUP]},
        {**hostile, "task_ids": [MARKUP]},
        {**hostile, "run_id": [MARKUP]},
        {**hostile, "dag_id": MARKUP},
        {**hostile, "timezone": MARKUP},
        {**hostile, MARKUP: "1"},
    ):
        answer = client.post(
            "/safe_clear/plans", data=body, headers={**bearer("admin"), "Accept": "text/html"}
        )
        assert answer.status_code in (404, 422)
        if "html" in answer.content_type:
            assert Page(answer.text).troubles() == []


@pytest.mark.parametrize(
    "regex", [r"(x+x+)+y", r"^(([a-z])+.)+[A-Z]([a-z])+$", r"(x*)*!", r"(.*.*.*.*.*.*)*\d\d$", r"(x|x)*!"]
)
def test_a_regex_that_backtracking_never_finishes_is_answered(client, hostile, session, regex):
    """A backtracking engine would need longer than the universe has existed."""
    session.execute(update(TaskInstance).where(TaskInstance.task_id == "load").values(task_id="x" * 200))
    session.commit()
    answer = client.post("/safe_clear/plans", json={**hostile, "task_regex": regex}, headers=bearer("admin"))
    assert answer.status_code in (201, 422)


# Whole texts, and such as have something to say to a parser of dates, numbers, patterns or ids.
PIECES = [
    "etl",
    "^load",
    "2026-01-02",
    "T25:99",
    "+99:99",
    "-1",
    "9" * 30,
    "\x00",
    "\ud800",
    MARKUP,
    "[[",
    "\\",
    "∞",
]
WORDS = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=4).map("".join))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=8,
)
FIELDS = ["reason", *(field.name for field in fields(Selection) if field.name != "dag_id")]
BODIES = st.dictionaries(st.one_of(st.sampled_from(FIELDS), WORDS), JSON, max_size=6)


def tries(examples: int) -> settings:
    return settings(
        max_examples=options.examples(examples),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.fixture
def etl(session) -> dict[str, Any]:
    dag = etl_dag("etl")
    store_dag(dag, session=session)
    run = make_run(dag, session=session, logical_date=START, run_id="run_1", state="failed")
    set_states(run, FAILED_RUN, session=session)
    return {"dag_id": "etl", "date_from": "2026-01-01"}


@tries(40)
@given(body=BODIES, dated=st.booleans())
def test_whatever_json_asks_for_is_a_plan_or_a_refusal(client, etl, body, dated):
    whole = {**(etl if dated else {"dag_id": "etl"}), **body}
    for address in ("/safe_clear/plans", "/safe_clear/answers"):
        answer = client.post(address, json=whole, headers=bearer("admin"))
        assert answer.status_code in HARMLESS, (address, answer.text)


@tries(25)
@given(body=st.dictionaries(st.one_of(st.sampled_from(FIELDS), WORDS), WORDS, max_size=6))
def test_whatever_the_form_holds_is_a_page_without_harm(client, etl, body):
    sendable = {
        name.encode("utf-8", "replace").decode(): value.encode("utf-8", "replace").decode()
        for name, value in {**etl, **body}.items()
    }
    headers = {**bearer("admin"), "Accept": "text/html"}
    for address in ("/safe_clear/plans", "/safe_clear/answers"):
        answer = client.post(address, data=sendable, headers=headers)
        assert answer.status_code in HARMLESS, (address, answer.text)
        if "html" in answer.content_type:
            assert Page(answer.text).troubles() == []
    for address in ("/safe_clear/", "/safe_clear/failed"):
        answer = client.get(address, query_string=sendable, headers=headers)
        assert answer.status_code in HARMLESS, (address, answer.text)
        if "html" in answer.content_type:
            assert Page(answer.text).troubles() == []


@tries(40)
@given(body=JSON, what=st.sampled_from(["apply", "stop", "undo", "rest", "ask", "decline"]))
def test_whatever_is_sent_to_a_plan_is_carried_out_or_refused(client, etl, body, what):
    plan = make_plan(client, etl)
    answer = client.post(actions.path(plan, f"/{what}"), json=body, headers=bearer("admin"))
    assert answer.status_code in HARMLESS, answer.text


@tries(15)
@given(
    query=st.dictionaries(
        st.sampled_from(
            ["task", "run", "state", "effect", "why", "map_index", "offset", "limit", "sort", "order", "grid",
             "from", "to", "open", "q", "dag_id", "user", "status", "date_from", "date_to", "run_id"]
        ),
        WORDS,
        max_size=5,
    )
)  # fmt: skip
def test_whatever_a_query_says_is_a_page_or_a_refusal(client, etl, query):
    plan = make_plan(client, etl)
    sendable = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
    for address in (
        actions.path(plan),
        actions.path(plan, "/grid"),
        actions.path(plan, "/task_instances.json"),
        actions.path(plan, "/task_instances.csv"),
        actions.path(plan, "/findings/stale_downstream"),
        "/safe_clear/plans",
        "/safe_clear/dags.json",
    ):
        answer = client.get(
            address, query_string=sendable, headers={**bearer("admin"), "Accept": "text/html"}
        )
        assert answer.status_code in HARMLESS, (address, answer.text)
        if "html" in answer.content_type:
            assert Page(answer.text).troubles() == [], address
