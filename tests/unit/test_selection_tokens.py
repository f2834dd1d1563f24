"""A selection as tokens says no less than the sentence does."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import combinations

import pytest

from safe_clear_plugin.core.plan_text import sentence
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.selection_tokens import selection_tokens

FIRST = datetime(2026, 11, 1, tzinfo=timezone.utc)
LAST = datetime(2026, 11, 3, 23, 59, 59, 999999, tzinfo=timezone.utc)
CHANGES = (
    {"task_regex": "^load"},
    {"task_regex": "^load$", "map_index": 3},
    {"state": ("failed", "none")},
    {"include_upstream": True, "task_regex": "a"},
    {"include_downstream": True, "task_regex": "a"},
    {"include_setups": True, "task_regex": "a", "state": ("failed",)},
    {"task_ids": ("a",)},
    {"task_ids": ("a", "b", "c", "d")},
    {"run_id": ("a", "b")},
    {"date_from": FIRST},
    {"date_from": FIRST, "date_to": LAST, "date_field": "run_after"},
    {"date_from": FIRST, "date_to": LAST, "include_past": True},
    {"date_from": FIRST, "date_to": LAST, "include_future": True},
    {"run_type": ("manual",)},
    {"run_state": ("failed",)},
    {"partition_key": ("2026-11",)},
    {"failed_from": FIRST, "failed_to": LAST},
    {"exclude_task_id": ("b",)},
    {"exclude_run_id": ("r",)},
    {"exclude_task_instance": (("b", "r", -1),)},
    {"running": "terminate"},
    {"reset_dag_runs": False},
)


def said(found):
    return [(one.name, one.value, one.note) for one in found]


def test_tokens_follow_the_order_of_the_form():
    selection = Selection(
        "sales_etl",
        task_regex="^load$",
        map_index=2,
        state=("up_for_retry", "none"),
        date_from=FIRST,
        date_to=LAST,
        include_downstream=True,
        exclude_task_id=("b",),
        exclude_run_id=("r",),
    )
    assert said(selection_tokens(selection, on_latest=True, label="apac")) == [
        ("Tasks", "^load$", "[2] apac"),
        ("State", "Up For Retry or No Status", ""),
        ("Runs", "with logical date from Sun 2026-11-01 00:00 UTC to Tue 2026-11-03 23:59 UTC", ""),
        ("Also clear", "downstream, setups and teardowns", "in the same states"),
        ("Excluded", "task b and run r", ""),
        ("Running", "left out", ""),
        ("Dag version", "latest", ""),
    ]


def test_a_whole_dag_has_three_tokens():
    found = selection_tokens(Selection("sales_etl", run_id=("r",)), on_latest=False)
    assert said(found) == [("Tasks", "all", ""), ("Runs", "r", ""), ("Running", "left out", "")]


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"run_id": ("a", "b")}, "a, b"),
        ({"run_id": ("a", "b", "c", "d")}, "4 runs"),
        ({"run_id": ("a",), "include_past": True}, "a and every run before it by logical date"),
        ({"run_id": ("a",), "run_state": ("failed",)}, "a (runs in state Failed only)"),
        ({"date_from": FIRST}, "with logical date from Sun 2026-11-01 00:00 UTC"),
        (
            {"date_from": FIRST, "run_state": ("failed",)},
            "in state Failed with logical date from Sun 2026-11-01 00:00 UTC",
        ),
        (
            {"date_from": FIRST, "run_type": ("manual",)},
            "manual runs with logical date from Sun 2026-11-01 00:00 UTC",
        ),
        ({"partition_key": ("2026-11",)}, "every run with partition key 2026-11"),
    ],
)
def test_runs_have_no_noun_where_their_heading_is_enough(fields, value):
    found = selection_tokens(Selection("sales_etl", **fields), on_latest=False)
    assert [one.value for one in found if one.name == "Runs"] == [value]


@pytest.mark.parametrize(
    ("fields", "token"),
    [
        ({"include_upstream": True}, ("upstream, setups and teardowns", "")),
        ({"include_setups": True}, ("setups and teardowns", "in any state")),
        (
            {"include_upstream": True, "include_downstream": True, "include_setups": True},
            ("upstream, downstream in the same states; setups and teardowns in any state", ""),
        ),
    ],
)
def test_what_comes_along_is_one_token(fields, token):
    state = {"state": ("failed",)} if "include_setups" in fields else {}
    found = selection_tokens(
        Selection("d", task_ids=("a",), run_id=("r",), **state, **fields), on_latest=False
    )
    assert [(one.value, one.note) for one in found if one.name == "Also clear"] == [token]


def test_only_what_was_typed_is_code():
    found = selection_tokens(Selection("d", task_regex="<b>", exclude_task_id=("x",)), on_latest=False)
    assert [one.value for one in found if one.is_code] == ["<b>"]


@pytest.mark.parametrize("base", CHANGES, ids="-".join)
def test_selections_with_different_sentences_have_different_tokens(base):
    selections = [Selection("d", **base), *(Selection("d", **{**base, **more}) for more in CHANGES)]
    for one, other in combinations(selections, 2):
        for latest in (False, True):
            sentences = sentence(one, on_latest=latest), sentence(other, on_latest=latest)
            tokens = selection_tokens(one, on_latest=latest), selection_tokens(other, on_latest=latest)
            assert (sentences[0] == sentences[1]) == (tokens[0] == tokens[1]), (one, other)
