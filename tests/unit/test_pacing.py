"""How many task instances a transaction takes."""

from __future__ import annotations

import pytest

from safe_clear_plugin.core.batch_size import FIRST, LEAST, SECONDS, Pace


def test_the_first_one_is_careful():
    assert Pace().size(500) == FIRST
    assert Pace().size(20) == 20


def test_a_fast_database_is_given_more_and_never_more_than_is_allowed():
    pace = Pace()
    for _ in range(10):
        size = pace.size(500)
        pace.learn(size, size * 0.0002)
    assert pace.size(500) == 500
    assert pace.size(100_000) > 2_000


def test_a_transaction_comes_to_take_about_half_a_second():
    pace = Pace()
    for _ in range(20):
        size = pace.size(500)
        pace.learn(size, 0.1 + size * 0.002)
    assert 0.8 * SECONDS < 0.1 + pace.size(500) * 0.002 < 1.2 * SECONDS


def test_the_first_transaction_says_how_fast_the_database_is():
    guess = SECONDS / FIRST
    for measured, learned in ((0.8, 0.8), (1.5, 1.5), (0.1, 0.5), (100, 2)):
        pace = Pace()
        pace.learn(FIRST, FIRST * guess * measured)
        assert pace.seconds_each == pytest.approx(guess * learned), measured


def test_one_long_wait_is_forgotten():
    pace = Pace(seconds_each=SECONDS / FIRST)
    pace.learn(100, 60)
    assert LEAST < pace.size(500) < FIRST
    assert pace.size(5) == 5
    for _ in range(3):
        pace.learn(pace.size(500), pace.size(500) * 0.0025)
    assert pace.size(500) > 0.9 * FIRST


def test_a_slow_database_is_given_less():
    pace = Pace()
    for _ in range(4):
        pace.learn(pace.size(500), pace.size(500) * 0.01)
    assert pace.size(500) == LEAST


def test_a_small_transaction_teaches_nothing():
    """It takes about as long as a larger one."""
    pace = Pace()
    for task_instances in (0, 1, LEAST // 2):
        pace.learn(task_instances, 3)
    assert pace == Pace()


def test_runs_of_any_size_teach():
    """A transaction holds whole runs: as many as fit, or a single larger one."""
    for tasks in range(1, 3 * LEAST):
        pace = Pace(seconds_each=SECONDS / LEAST)
        pace.learn(max(1, pace.size(500) // tasks) * tasks, 0.01)
        assert pace.size(500) > LEAST, tasks


def test_what_was_too_much_is_halved_down_to_a_single_run_and_grows_again_while_it_is_quick():
    pace = Pace(seconds_each=SECONDS / FIRST)
    for tried, then in ((200, 100), (99, 49), (3, 1), (1, 1)):
        pace.halve(tried)
        assert pace.size(500) == then
    pace.learn(1, 10 * SECONDS)
    assert pace.size(500) == 1
    pace.learn(1, 0.1)
    assert pace.size(500) == 2
    for _ in range(10):
        pace.learn(2, 0.1)
    assert pace == Pace(seconds_each=SECONDS / FIRST)
