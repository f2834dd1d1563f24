"""How many task instances a transaction takes."""

from __future__ import annotations

from safe_clear_plugin.core.pacing import FIRST, LEAST, SECONDS, Pace


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


def test_one_long_wait_is_forgotten():
    pace = Pace()
    pace.learn(100, 60)
    assert pace.size(500) == LEAST
    assert pace.size(5) == 5
    for _ in range(12):
        pace.learn(pace.size(500), pace.size(500) * 0.005)
    assert pace.size(500) > 90


def test_nothing_done_teaches_nothing():
    pace = Pace()
    pace.learn(0, 3)
    assert pace == Pace()
