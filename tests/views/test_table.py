"""The table of a plan's task instances: filters, orders, ticks, and the file."""

from __future__ import annotations

import csv
import html
import io
import json
import re

import pytest
from sqlalchemy import event, update

from safe_clear_plugin.storage.tables import plan_task_instance
from safe_clear_plugin.web.plan import csv_export
from tests.support.auth import bearer, login
from tests.support.scenes import store_etl
from tests.views.actions import forms, get, make, path

ROW = re.compile(r'<tr>\s*<td class="pick.*?</tr>', re.DOTALL)


@pytest.fixture
def dag(session):
    return store_etl(session)


@pytest.fixture
def plan(client, dag):
    plan = make(client)
    login(client, "admin")
    return plan


def rows(page: str) -> list[tuple[str, ...]]:
    """Return task id and run id of each row, as its tick names it."""
    values = re.findall(r'<td class="pick option"><input type="hidden" name="row" value="([^"]+)"', page)
    return [(task_id, run_id) for task_id, _, run_id in map(json.loads, map(html.unescape, values))]


def chips(page: str) -> dict[str, str]:
    """Return the filters that are set, each with the address without it."""
    found = re.findall(r'<a class="chip" href="([^"]+)"[^>]*><bdi>([^<]+)</bdi>', page)
    return {html.unescape(text): html.unescape(href) for href, text in found}


def table(client, plan, query=""):
    return client.get(path(plan, f"/rows{query}")).text


@pytest.mark.parametrize(
    ("query", "count", "chip"),
    [
        ("?task_id=load", 3, "task load"),
        ("?task_id=loa", 0, "task loa"),
        ("?task=loa", 3, "task contains loa"),
        ("?run_id=run_2", 2, "run run_2"),
        ("?run=run_", 6, "run contains run_"),
        ("?map_index=-1", 6, "map index -1"),
        ("?map_index=0", 0, "map index 0"),
        ("?state=failed", 3, "state Failed"),
        ("?effect=clear", 6, "effect Clear"),
        ("?outcome=runs", 6, "outcome Runs"),
        ("?outcome=skipped", 0, "outcome Skipped"),
        ("?why=downstream", 3, "why contains downstream"),
        (
            "?run_from=2026-01-02&run_to=2026-01-03",
            2,
            "runs from 2026-01-02 00:00 UTC before 2026-01-03 00:00 UTC",
        ),
        ("?run_from=2026-01-02T01:00%2B01:00", 4, "runs from 2026-01-02 00:00 UTC"),
    ],
)
def test_filters(client, plan, query, count, chip):
    page = client.get(path(plan, query)).text
    assert len(rows(page)) == count
    assert list(chips(page)) == [chip]
    assert chips(page)[chip] == path(plan, "#task-instances")
    assert get(client, plan, f"/task_instances.json{query}").get_json()["total"] == count


@pytest.mark.parametrize(
    "query",
    [
        "?map_index=x",
        "?map_index=-2",
        "?run_from=yesterday",
        "?sort=secret",
        "?map_index=%D9%A3",
        "?effect=cleared",
        "?outcome=success",
        "?task=a&task=b",
        "?taskid=load",
        "?why=%00",
    ],
)
def test_what_makes_no_sense_is_refused_by_name(client, plan, query):
    name = re.match(r"\?(\w+)=", query)[1]
    for rest in ("", "/rows", "/task_instances.csv"):
        answer = client.get(path(plan, rest + query))
        assert answer.status_code == 422, rest
        assert f"<code>{name}</code>" in answer.text


def test_a_filter_is_removed_alone_and_orders_stay(client, plan):
    page = table(client, plan, "?task_id=load&state=upstream_failed&sort=-task&grid=day&offset=2")
    assert chips(page)["task load"] == path(plan, "?grid=day&state=upstream_failed&sort=-task#task-instances")
    assert 'name="grid" value="day"' in page
    assert 'name="sort" value="-task"' in page
    assert 'name="task_id" value="load"' in page


@pytest.mark.parametrize(
    ("sort", "first", "last"),
    [
        ("", ("load", "run_1"), ("transform", "run_3")),
        ("run", ("load", "run_1"), ("transform", "run_3")),
        ("-run", ("load", "run_3"), ("transform", "run_1")),
        ("task", ("load", "run_1"), ("transform", "run_3")),
        ("-task", ("transform", "run_1"), ("load", "run_3")),
        ("state", ("transform", "run_1"), ("load", "run_3")),
        ("-state", ("load", "run_1"), ("transform", "run_3")),
        ("-tries", ("transform", "run_1"), ("load", "run_3")),
        ("why", ("load", "run_1"), ("transform", "run_3")),
        ("-effect", ("load", "run_1"), ("transform", "run_3")),
    ],
)
def test_orders(client, plan, sort, first, last):
    page = table(client, plan, f"?sort={sort}")
    found = rows(page)
    assert (found[0], found[-1], len(found)) == (first, last, 6)
    way = "descending" if sort.startswith("-") else "ascending"
    head = re.search(rf'<th scope="col"[^>]* aria-sort="{way}"><a href="([^"]+)"', page)
    assert head
    name = sort.removeprefix("-") or "run"
    other = name if sort.startswith("-") else f"-{name}"
    assert html.unescape(head[1]) == path(plan, f"?sort={other}#task-instances")


def test_pages(client, plan, monkeypatch):
    monkeypatch.setattr("safe_clear_plugin.web.plan.table_page.ROWS", 4)
    page = table(client, plan, "?sort=-run&run=run")
    assert len(rows(page)) == 4
    link = re.search(r'rel="next" href="([^"]+)"', page)
    assert link
    following = client.get(html.unescape(link[1])).text
    assert rows(following) == [("load", "run_1"), ("transform", "run_1")]
    assert html.unescape(link[1]) == path(plan, "?run=run&sort=-run&offset=4#task-instances")


def untick(page: str, **kept: list[int]) -> dict[str, list[str]]:
    """Return what the form sends when only these of its boxes are still ticked."""
    (form,) = (form for form in forms(page) if form["id"] == "without")
    data: dict[str, list[str]] = {}
    for name, value in form["fields"]:
        kind = name.removeprefix("keep_")
        if name == kind or kind not in kept or int(value) in kept[kind]:
            data.setdefault(name, []).append(value)
    return data


def without(client, plan, data):
    answer = client.post(path(plan, "/without"), data=data)
    assert answer.status_code == 303, answer.text
    return client.get(f"{answer.location}.json").get_json()


def test_a_single_one_is_unticked(client, plan):
    page = client.get(path(plan)).text
    new = without(client, plan, untick(page, row=[0, 1, 3, 4, 5]))
    assert new["counts"]["task_instances"] == 5
    assert new["selection"]["exclude_task_instance"] == [["load", -1, "run_2"]]
    again = without(client, new, untick(client.get(path(new)).text, row=[1, 2, 3, 4]))
    assert again["selection"]["exclude_task_instance"] == [["load", -1, "run_2"], ["load", -1, "run_1"]]
    assert again["counts"]["task_instances"] == 4


def test_a_run_and_a_task_are_unticked(client, plan):
    page = client.get(path(plan)).text
    new = without(client, plan, untick(page, run=[0, 2], task=[1], row=[0, 1, 3, 4, 5]))
    assert new["selection"]["exclude_run_id"] == ["run_2"]
    assert new["selection"]["exclude_task_id"] == ["load"]
    assert new["selection"]["exclude_task_instance"] == []
    assert new["counts"] == {"task_instances": 2, "dag_runs": 2, "by_state": {"failed": 2}}


def test_what_was_unticked_on_another_page_goes_along(client, plan):
    """The script adds hidden fields without ticks of their own."""
    data = untick(client.get(path(plan)).text)
    data["row"].append('["transform", -1, "run_3"]')
    new = without(client, plan, {**data, "row": data["row"]})
    assert new["selection"]["exclude_task_instance"] == [["transform", -1, "run_3"]]


def test_the_reason_is_kept(client, plan):
    data = untick(client.get(path(plan)).text, row=[0])
    data["reason"] = ["late <files>"]
    new = without(client, plan, data)
    page = client.get(path(new)).text
    assert "late &lt;files&gt;</textarea>" in page


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"row": "no json"},
        {"row": '["load", -1, "no such run"]'},
        {"task": "no_such_task"},
        {"run": ["run_1", "run_2", "run_3"]},
        {"row": "[[[["},
    ],
)
def test_what_cannot_be_left_out_is_refused(client, plan, fields):
    token = dict(forms(client.get(path(plan)).text)[0]["fields"])["csrf_token"]
    answer = client.post(path(plan, "/without"), data={"csrf_token": token, **fields})
    assert answer.status_code == 422
    assert client.get("/safe_clear/plans.json").get_json()["total"] == 1


def test_without_a_token_or_the_permission(client, plan):
    data = untick(client.get(path(plan)).text, row=[0])
    assert client.post(path(plan, "/without"), data={**data, "csrf_token": "x"}).status_code == 403
    login(client, "viewer")
    page = client.get(path(plan)).text
    assert len(re.findall(r"<b><bdi>(load|transform)</bdi></b>", page)) == 6
    assert 'id="without"' not in page
    assert client.post(path(plan, "/without"), data=data).status_code == 403
    assert "keep_row" not in table(client, plan)


def file(client, plan, query=""):
    answer = get(client, plan, f"/task_instances.csv{query}")
    assert answer.status_code == 200
    return answer, list(csv.reader(io.StringIO(answer.get_data(as_text=True), newline="")))


WHY = csv_export.COLUMNS.index("why")


def test_the_file(client, plan):
    answer, lines = file(client, plan)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="safe-clear-{plan["id"]}.csv"'
    assert lines[0] == list(csv_export.COLUMNS)
    assert dict(zip(lines[0], lines[1], strict=True)) == {
        "dag_id": "etl",
        "run_id": "run_1",
        "logical_date": "2026-01-01T00:00:00+00:00",
        "run_after": "2026-01-01T00:00:00+00:00",
        "run_type": "manual",
        "run_state_before": "failed",
        "run_state_after": "queued",
        "task_id": "load",
        "map_index": "-1",
        "effect": "clear",
        "state_before": "upstream_failed",
        "state_after": "none",
        "try_number": "0",
        "max_tries_after": "0",
        "why": "downstream of transform",
        "outcome": "runs",
        "outcome_why": "",
        "partition_key": "",
        "partition_date": "",
        "rendered_map_index": "",
    }
    assert len(lines) == 7
    _, filtered = file(client, plan, "?task_id=load&sort=-run")
    assert [line[1] for line in filtered[1:]] == ["run_3", "run_2", "run_1"]


def test_whoever_is_slow_to_read_the_file_holds_no_connection(client, session, plan):
    engine = session.get_bind()
    session.rollback()
    out = []
    taken, given = (lambda *_: out.append(1)), (lambda *_: out.pop())
    event.listen(engine, "checkout", taken)
    event.listen(engine, "checkin", given)
    try:
        address = path(plan, "/task_instances.csv")
        answer = client.get(address, headers=bearer("admin"), buffered=False)
        assert out == []
        assert answer.get_data(as_text=True).count("\n") == 7
    finally:
        event.remove(engine, "checkout", taken)
        event.remove(engine, "checkin", given)


def test_the_file_is_for_those_who_may_see_the_plan(client, plan):
    answer = client.get(path(plan, "/task_instances.csv"), headers=bearer("nobody"))
    assert answer.status_code == 404


def test_the_file_ends_where_it_is_capped_and_says_so(client, plan, monkeypatch):
    monkeypatch.setattr(csv_export, "MAX_ROWS", 5)
    monkeypatch.setattr(csv_export, "CHUNK", 2)
    answer, lines = file(client, plan)
    assert len(lines) == 1 + 5 + 1
    assert lines[-1] == ["Only the first 5 of 6 task instances are listed. Filter to see others."]
    assert answer.headers["X-Total-Count"] == "6"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "=cmd|' /C calc'!A0"])
def test_no_formula_gets_into_the_file(client, session, plan, text):
    session.execute(update(plan_task_instance).values(why=text))
    session.commit()
    _, lines = file(client, plan)
    assert {line[WHY] for line in lines[1:]} == {f"'{text}"}
    assert {line[8] for line in lines[1:]} == {"-1"}


def test_quotes_commas_and_lines_survive_the_file(client, session, plan):
    text = 'a "b", c\r\nd \u202e<b>'
    session.execute(update(plan_task_instance).values(why=text))
    session.commit()
    _, lines = file(client, plan)
    assert {line[WHY] for line in lines[1:]} == {text}


def test_everything_is_escaped(client, session, plan):
    evil = '"><script>alert(1)</script>'
    page = client.get(
        path(plan, f"?task={evil}&task_id={evil}&run={evil}&why={evil}&state={evil}&open={evil}")
    ).text
    assert "<script>alert" not in page
    assert f"task {evil}" in chips(page)
