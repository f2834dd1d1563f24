"""The grid's spans of time, its lines and its cells."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from safe_clear_plugin.core.grid import time_buckets
from safe_clear_plugin.core.grid.cell_text import describe
from safe_clear_plugin.core.grid.folding import folded, with_others
from safe_clear_plugin.core.grid.model import Node, Segment, cell


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("unit", "start", "following"),
    [
        ("hour", "2026-12-31 23:00", "2027-01-01 00:00"),
        ("day", "2026-12-31", "2027-01-01"),
        ("week", "2026-12-28", "2027-01-04"),
        ("month", "2026-12-01", "2027-01-01"),
        ("year", "2026-01-01", "2027-01-01"),
    ],
)
def test_units(unit, start, following):
    moment = at("2026-12-31 23:59:59.999999")
    assert time_buckets.start_of(moment, unit) == at(start)
    assert time_buckets.next_start(at(start), unit) == at(following)
    assert time_buckets.start_of(at(following), unit) == at(following)


@pytest.mark.parametrize("unit", time_buckets.UNITS)
def test_units_at_the_rims_of_the_calendar(unit):
    first, last = at("0001-01-01"), time_buckets.LAST
    assert time_buckets.start_of(first, unit) == first
    assert time_buckets.next_start(time_buckets.start_of(last, unit), unit) == time_buckets.LAST
    assert len(time_buckets.starts(last - timedelta(hours=1), last, unit, 10)) <= 2


def test_other_zones_are_read_in_utc():
    berlin = datetime(2026, 11, 2, 0, 30, tzinfo=timezone(timedelta(hours=1)))
    assert time_buckets.start_of(berlin, "day") == at("2026-11-01")


def test_starts():
    assert time_buckets.starts(at("2026-11-01 23:59"), at("2026-11-03"), "day", 10) == [
        at("2026-11-01"),
        at("2026-11-02"),
        at("2026-11-03"),
    ]
    assert len(time_buckets.starts(at("2026-11-01"), at("2027-11-03"), "hour", 10)) == 10


@pytest.mark.parametrize(
    ("days", "unit"), [(0, "hour"), (3, "hour"), (4, "day"), (91, "day"), (92, "week"), (900, "month")]
)
def test_the_smallest_unit_that_fits(days, unit):
    first = at("2026-11-02")
    assert time_buckets.fitting(first, first + timedelta(days=days), 92) == unit


def test_a_cell_adds_up_like_parts_and_shows_what_changes_first():
    found = cell(
        [
            Segment("untouched", "success", None, 3),
            Segment("clear", "success", None, 1),
            Segment("clear", "failed", None, 1),
            Segment("clear", "success", None, 1),
            Segment("stale", "success", None, 2),
            Segment("untouched", "success", None, -3),
        ],
        "matched",
    )
    assert [(part.kind, part.state, part.count) for part in found.segments] == [
        ("clear", "failed", 1),
        ("clear", "success", 2),
        ("stale", "success", 2),
    ]
    assert (found.count, found.changed, found.of("stale")) == (5, 3, 2)
    assert describe(found) == "1 Failed, 2 Success → No Status; 2 Success, will go stale; matched"


@pytest.mark.parametrize(
    ("segment", "said"),
    [
        (Segment("clear", "success", None, 1), "Success → No Status"),
        (Segment("clear", None, None, 12_000), "12,000 No Status → No Status"),
        (Segment("terminate", "running", "restarting", 1), "Running terminated → Restarting"),
        (Segment("leave_out", "running", "running", 2), "2 Running left out"),
        (Segment("create", None, None, 1), "created → No Status"),
        (Segment("remove", "success", "removed", 1), "Success → Removed"),
        (Segment("restore", "removed", None, 1), "Removed restored → No Status"),
        (Segment("cleared", "running", None, 1), "Running, cleared"),
        (Segment("untouched", "skipped", None, 1), "Skipped"),
        (Segment("untouched", "of a plugin", None, 1), "Of A Plugin"),
    ],
)
def test_words(segment, said):
    assert describe(cell([segment])) == said


def many(count: int, path: tuple[str, ...] = (), start: int = 0) -> list[Node]:
    return [Node(f"{'.'.join((*path, 't'))}{n}", f"t{n}", path) for n in range(start, start + count)]


def shown(rows) -> list[tuple[str, str, int, bool]]:
    return [(row.kind, row.node.id, row.tasks, row.open) for row in rows]


def test_a_small_dag_is_shown_whole():
    nodes = [Node("g", "g", group=True), *many(3, ("g",)), *many(20)]
    assert [row.node for row in folded(nodes, {"t3"}, ())] == nodes


def test_in_a_large_dag_what_is_untouched_is_folded():
    nodes = [
        Node("quiet", "quiet", group=True),
        *many(20, ("quiet",)),
        Node("quiet.in", "in", ("quiet",), group=True),
        *many(5, ("quiet", "quiet.in")),
        Node("busy", "busy", group=True),
        *many(10, ("busy",)),
        *many(30),
    ]
    touched = {"busy.t7", "t2"}
    rows = folded(nodes, touched, ())
    assert shown(rows) == [
        ("group", "quiet", 25, False),
        ("group", "busy", 0, True),
        ("fold", "task:busy.t0", 7, False),
        ("task", "busy.t7", 0, True),
        ("task", "busy.t8", 0, True),
        ("task", "busy.t9", 0, True),
        ("task", "t0", 0, True),
        ("task", "t1", 0, True),
        ("task", "t2", 0, True),
        ("fold", "task:t3", 27, False),
    ]
    opened = folded(nodes, touched, {"quiet", "task:t3", "no such fold"})
    assert len([row for row in opened if row.kind == "task"]) == 6 + 25 + 27
    assert ("group", "quiet", 25, True) in shown(opened)
    assert ("group", "quiet.in", 0, True) in shown(opened)


def test_tasks_of_other_versions_and_tasks_gone_come_last():
    nodes = [Node("a", "a"), Node("b", "b")]
    found = with_others(nodes, [Node("b", "b"), Node("c", "c")], ["z", "y", "a"])
    assert [(node.id, node.path) for node in found[2:]] == [
        ("In other versions of the Dag", ()),
        ("c", ("In other versions of the Dag",)),
        ("No longer in the Dag", ()),
        ("y", ("No longer in the Dag",)),
        ("z", ("No longer in the Dag",)),
    ]
    assert with_others(nodes, nodes, ["a"]) == nodes
