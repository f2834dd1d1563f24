"""How many task instances a transaction takes."""

from __future__ import annotations

import pytest

from safe_clear_plugin.core.batch_size import FIRST, MIN_SIZE, SECONDS, BatchSizer


def test_the_first_one_is_careful():
    assert BatchSizer().next_size(500) == FIRST
    assert BatchSizer().next_size(20) == 20


def test_a_fast_database_is_given_more_and_never_more_than_is_allowed():
    sizer = BatchSizer()
    for _ in range(10):
        size = sizer.next_size(500)
        sizer.observe(size, size * 0.0002)
    assert sizer.next_size(500) == 500
    assert sizer.next_size(100_000) > 2_000


def test_a_transaction_comes_to_take_about_half_a_second():
    sizer = BatchSizer()
    for _ in range(20):
        size = sizer.next_size(500)
        sizer.observe(size, 0.1 + size * 0.002)
    assert 0.8 * SECONDS < 0.1 + sizer.next_size(500) * 0.002 < 1.2 * SECONDS


def test_the_first_transaction_says_how_fast_the_database_is():
    guess = SECONDS / FIRST
    for measured, learned in ((0.8, 0.8), (1.5, 1.5), (0.1, 0.5), (100, 2)):
        sizer = BatchSizer()
        sizer.observe(FIRST, FIRST * guess * measured)
        assert sizer.seconds_each == pytest.approx(guess * learned), measured


def test_one_long_wait_is_forgotten():
    sizer = BatchSizer(seconds_each=SECONDS / FIRST)
    sizer.observe(100, 60)
    assert MIN_SIZE < sizer.next_size(500) < FIRST
    assert sizer.next_size(5) == 5
    for _ in range(3):
        sizer.observe(sizer.next_size(500), sizer.next_size(500) * 0.0025)
    assert sizer.next_size(500) > 0.9 * FIRST


def test_a_slow_database_is_given_less():
    sizer = BatchSizer()
    for _ in range(4):
        sizer.observe(sizer.next_size(500), sizer.next_size(500) * 0.01)
    assert sizer.next_size(500) == MIN_SIZE


def test_a_small_transaction_teaches_nothing():
    """It takes about as long as a larger one."""
    sizer = BatchSizer()
    for task_instances in (0, 1, MIN_SIZE // 2):
        sizer.observe(task_instances, 3)
    assert sizer == BatchSizer()


def test_runs_of_any_size_teach():
    """A transaction holds whole runs: as many as fit, or a single larger one."""
    for tasks in range(1, 3 * MIN_SIZE):
        sizer = BatchSizer(seconds_each=SECONDS / MIN_SIZE)
        sizer.observe(max(1, sizer.next_size(500) // tasks) * tasks, 0.01)
        assert sizer.next_size(500) > MIN_SIZE, tasks


def test_what_was_too_much_is_halved_down_to_a_single_run_and_grows_again_while_it_is_quick():
    sizer = BatchSizer(seconds_each=SECONDS / FIRST)
    for tried, then in ((200, 100), (99, 49), (3, 1), (1, 1)):
        sizer.halve(tried)
        assert sizer.next_size(500) == then
    sizer.observe(1, 10 * SECONDS)
    assert sizer.next_size(500) == 1
    sizer.observe(1, 0.1)
    assert sizer.next_size(500) == 2
    for _ in range(10):
        sizer.observe(2, 0.1)
    assert sizer == BatchSizer(seconds_each=SECONDS / FIRST)
