"""The estimate of what a clear costs: plain values in, plain values out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_clear_plugin.core import formats
from safe_clear_plugin.core.estimate import Concurrency, Duration, Estimate, RunQueue, TaskLoad, estimate

MINUTE = 60.0
ONE_RUN = {"1": 1}


def load(task_id="a", *, runs=1, instances=None, upstream=(), version="1", **options):
    return TaskLoad(version, task_id, runs, instances or runs, frozenset(upstream), **options)


def took(**minutes):
    return {task_id: Duration(MINUTE * n, 2 * MINUTE * n, 10) for task_id, n in minutes.items()}


def wall(loads, durations, *, runs, slots=100, **limits):
    queues = (RunQueue(sum(runs.values()), slots),)
    found = estimate(loads, durations, Concurrency(queues, **limits), runs=runs)
    return found.seconds / MINUTE, found.held_by


def test_a_chain_takes_as_long_as_its_tasks():
    loads = [load("a"), load("b", upstream=["a"]), load("c")]
    assert wall(loads, took(a=1, b=2, c=2), runs=ONE_RUN) == (3, "")


def test_what_is_not_cleared_keeps_nothing_waiting():
    loads = [load("a"), load("c", upstream=["b"])]
    assert wall(loads, took(a=1, c=2), runs=ONE_RUN) == (2, "")


def test_runs_go_in_waves():
    loads = [load("a", runs=10)]
    assert wall(loads, took(a=1), runs={"1": 10}, slots=4) == (3, "max_active_runs")
    assert wall(loads, took(a=1), runs={"1": 10}, slots=10) == (1, "")


def test_the_last_wave_starts_when_those_before_are_done():
    found = estimate([load("a", runs=10)], took(a=1), Concurrency((RunQueue(10, 4),)), runs={"1": 10})
    assert found.last_start == pytest.approx(2 * MINUTE)


def test_where_all_runs_start_at_once_the_last_starts_at_once():
    found = estimate([load("a", runs=4)], took(a=1), Concurrency((RunQueue(4, 4),)), runs={"1": 4})
    assert found.last_start == 0


def test_a_run_lets_only_so_many_task_instances_be_active():
    loads = [load("a", instances=10)]
    assert wall(loads, took(a=1), runs=ONE_RUN, per_run=4)[0] == 3
    beside = [load("a"), load("b"), load("c"), load("d")]
    assert wall(beside, took(a=1, b=1, c=1, d=1), runs=ONE_RUN, per_run=2)[0] == 2


def test_a_pool_lets_only_so_much_through():
    loads = [load("a", runs=10, pool="p", pool_slots=2)]
    assert wall(loads, took(a=1), runs={"1": 10}, pools={"p": 4}) == (5, "pool p")
    assert wall(loads, took(a=1), runs={"1": 10}, pools={"p": math.inf}) == (1, "")


def test_a_task_that_few_may_run_of():
    loads = [load("a", runs=10, per_dag=5)]
    assert wall(loads, took(a=1), runs={"1": 10}) == (2, "max_active_tis_per_dag")
    assert wall([load("a", instances=9, per_run=3)], took(a=1), runs=ONE_RUN)[0] == 3


def test_the_executor_has_only_so_many_slots():
    loads = [load("a", runs=10)]
    assert wall(loads, took(a=1), runs={"1": 10}, executor=2) == (5, "[core] parallelism")


def test_a_task_that_depends_on_its_past_goes_run_by_run():
    loads = [load("a", runs=10, depends_on_past=True), load("b", runs=10, upstream=["a"])]
    assert wall(loads, took(a=1, b=3), runs={"1": 10}) == (13, "depends_on_past")


def test_a_step_that_only_some_runs_have_weighs_less():
    loads = [load("a", runs=2), load("b", runs=8, upstream=["a"])]
    # One in five runs has a, four in five have b: a mean of a minute, ten runs one after the other.
    assert wall(loads, took(a=1, b=1), runs={"1": 10}, slots=1) == (10, "max_active_runs")


def test_the_lag_of_the_scheduler_counts_for_the_time_but_not_for_the_work():
    durations = {"a": Duration(60, 120, 3, lag=5)}
    found = estimate([load("a")], durations, Concurrency((RunQueue(1, 1),)), runs=ONE_RUN)
    assert (found.task_seconds, found.seconds) == (60, 65)


def test_nothing_is_known():
    found = estimate([load("a", instances=4)], {}, Concurrency((RunQueue(1, 1),)), runs=ONE_RUN)
    assert (found.task_seconds, found.seconds, found.last_start) == (None, None, None)
    assert (found.unknown_tasks, found.unknown_task_instances) == (("a",), 4)


def test_what_never_ends_still_costs():
    found = estimate([load("a")], took(a=1), Concurrency((RunQueue(1, 1),)), runs=ONE_RUN, ends=False)
    assert (found.task_seconds, found.seconds) == (60, None)


def test_an_estimate_survives_being_stored():
    found = estimate([load("a"), load("b")], took(a=1), Concurrency((RunQueue(1, 1),)), runs=ONE_RUN)
    assert Estimate.from_json(json.loads(json.dumps(found.to_json()))) == found


# Properties

TASKS = "abcd"
limits_ = st.builds(
    Concurrency,
    per_run=st.integers(1, 8) | st.just(math.inf),
    executor=st.integers(1, 8) | st.just(math.inf),
    pools=st.dictionaries(st.sampled_from(["p", "q"]), st.integers(1, 8) | st.just(math.inf)),
    queues=st.just(()),
)


@st.composite
def cases(draw):
    """Draw loads of two DAG versions with their durations, runs, slots and limits."""
    runs = {version: draw(st.integers(1, 20)) for version in draw(st.sampled_from(["1", "12"]))}
    loads = []
    for version, most in runs.items():
        for number, task_id in enumerate(TASKS):
            own = draw(st.integers(1, most))
            loads.append(
                TaskLoad(
                    version,
                    task_id,
                    own,
                    own * draw(st.integers(1, 5)),
                    frozenset(draw(st.sets(st.sampled_from(TASKS[:number])))) if number else frozenset(),
                    draw(st.sampled_from(["p", "q", "r"])),
                    draw(st.integers(1, 3)),
                    draw(st.booleans()),
                    draw(st.none() | st.integers(1, 5)),
                    draw(st.none() | st.integers(1, 5)),
                )
            )
    seconds = st.floats(0, 10_000)
    durations = {}
    for task_id in draw(st.sets(st.sampled_from(TASKS), min_size=1)):
        median, more = draw(seconds), draw(seconds)
        durations[task_id] = Duration(median, median + more, draw(st.integers(1, 50)), draw(st.floats(0, 10)))
    total = sum(runs.values())
    queues = (RunQueue(total, draw(st.integers(1, 25))),)
    return loads, durations, runs, replace(draw(limits_), queues=queues)


def no_later(one, other):
    return one <= other * (1 + 1e-9) + 1e-6


@given(cases())
def test_the_slow_case_is_not_faster(case):
    loads, durations, runs, limits = case
    found = estimate(loads, durations, limits, runs=runs)
    assert no_later(found.task_seconds, found.task_seconds_slow)
    assert no_later(found.seconds, found.seconds_slow)
    assert no_later(found.last_start, found.seconds)


@given(cases(), st.integers(1, 10))
def test_more_room_is_never_slower(case, more):
    loads, durations, runs, limits = case
    before = estimate(loads, durations, limits, runs=runs)
    wider = [
        replace(limits, queues=tuple(replace(queue, slots=queue.slots + more) for queue in limits.queues)),
        replace(limits, per_run=limits.per_run + more),
        replace(limits, executor=limits.executor + more),
        replace(limits, pools={name: slots + more for name, slots in limits.pools.items()}),
    ]
    for room in wider:
        assert no_later(estimate(loads, durations, room, runs=runs).seconds, before.seconds)


@given(cases())
def test_it_takes_at_least_as_long_as_one_task_instance(case):
    loads, durations, runs, limits = case
    found = estimate(loads, durations, limits, runs=runs)
    longest = max(durations[one.task_id].median for one in loads if one.task_id in durations)
    assert no_later(longest, found.seconds)


@given(cases(), st.sampled_from(TASKS))
def test_clearing_less_costs_no_more_work(case, task_id):
    loads, durations, runs, limits = case
    whole = estimate(loads, durations, limits, runs=runs)
    less = estimate([one for one in loads if one.task_id != task_id], durations, limits, runs=runs)
    assert no_later(less.task_seconds or 0, whole.task_seconds)


# In words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (45, "45 s"),
        (200, "3 min 20 s"),
        (3_599, "59 min 59 s"),
        (3_600, "1 h"),
        (7_539, "2 h 5 min"),
        (187_200, "2 days 4 h"),
    ],
)
def test_lengths_of_time(seconds, text):
    assert formats.span(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5, "under 1 min of task time"),
        (60, "1 min of task time"),
        (720, "12 min of task time"),
        (12_000, "3 h 20 min of task time"),
        (72_000, "20 h of task time"),
        (3_600_000, "41 days 16 h of task time"),
    ],
)
def test_work(seconds, text):
    assert formats.work(seconds) == text


def test_a_moment_to_come_has_its_date_unless_that_is_today():
    now = datetime(2026, 11, 4, 22, 30, tzinfo=timezone.utc)
    assert formats.about(now, 3_600) == "23:30 UTC"
    assert formats.about(now, 7_200) == "Thu 2026-11-05 00:30 UTC"
