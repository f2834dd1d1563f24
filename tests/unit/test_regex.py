"""Regular expressions within bounds: none that is accepted, and none that is refused, takes long."""

from __future__ import annotations

import contextlib
import time

import pytest

from safe_clear_plugin.core import regex
from safe_clear_plugin.core.input_limits import TASK_REGEX
from safe_clear_plugin.core.regex import Regex, RegexError, exactly, task_id_of
from safe_clear_plugin.findings.protected_tasks import Unreadable, match_protected, read_pattern

IDS = ["x" * 250, "xy" * 125, "load_" * 50, "ж漢xé" * 62]
"""The longest task ids that there are."""
WORST = [
    r"(?:\pL{1,100}){1,100}",
    r"(?:\pL{1,30}){1,30}",
    r"(?:\pL{1,100}){1,10}",
    r"\pL" * 166,
    r"\pL{1000}",
    r"(?i)(?:[^\pL\pN]{1,31}){1,31}",
    r"(?:\pL|\pN|\pM|\pS|\pP|\pZ|\pC){1000}",
    r"(?:\pL{1,30}|){1,30}" * 20,
    "(x)" * 166,
    "((((((x)*)*)*)*)*)*" * 26,
    "(x?)" * 125,
    "(?:x?){500}x{500}",
    "(?:x|y)*x(?:x|y){1,900}z",
    "[xy]*x[xy]{500}y",
    r"(?:[^a]{0,10}[^b]{0,10}){1,40}!",
    r"(?:[a-y]?[a-z]?[b-z]?){300}!",
    r"(?:\b|\B|x?){0,900}z",
    r"(?:.{0,30}x|.{0,30}y){1,16}z",
    "|".join(f"[^a]{{{number},{number + 40}}}!" for number in range(1, 38)),
    ".{1000}",
    r"(?:(?:x{0,31}){0,31})z",
    "(" * 250 + ")" * 250,
    "x{1000}" * 71,
]


@pytest.mark.parametrize("pattern", WORST)
def test_the_worst_that_may_be_typed_is_refused_or_matched_at_once(pattern):
    assert len(pattern) <= TASK_REGEX
    # Of the processor's time, so that a busy machine does not matter; an unbounded search takes minutes.
    begun = time.thread_time()
    with contextlib.suppress(RegexError):
        compiled = Regex(pattern)
        for text in IDS:
            compiled.search(text)
    assert time.thread_time() - begun < 0.1


@pytest.mark.parametrize("pattern", ["x" * 501, "(x)" * 10_000, r"\pL" * 100_000])
def test_one_that_is_too_long_is_never_compiled(pattern, monkeypatch):
    monkeypatch.setattr(regex, "_compile", None)
    with pytest.raises(RegexError, match="at most 500 characters"):
        Regex(pattern)


def test_one_that_needs_much_memory_is_refused_with_a_remedy():
    with pytest.raises(RegexError, match="too much memory") as refused:
        Regex(r"\pL" * 160)
    assert "Simplify" in refused.value.remedy


@pytest.mark.parametrize(
    "pattern",
    ["", "^load$", r"\pL+_\d{4}", "|".join(f"task_{number:03}" for number in range(55)), ".{1,250}"],
)
def test_what_people_write_is_compiled(pattern):
    assert Regex(pattern)


def test_one_that_takes_long_over_many_tasks_is_refused(monkeypatch):
    monkeypatch.setattr(regex, "MAX_SECONDS", 0.0)
    with pytest.raises(RegexError, match="takes too long"):
        Regex("x").matching(["a", "b"])


@pytest.mark.parametrize("pattern", [r"etl:" + r"\pL" * 160, "etl:" + "x" * 501, "e" * 501 + ":x"])
def test_a_protected_pattern_is_held_to_the_same(pattern):
    found = read_pattern(pattern)
    assert isinstance(found, Unreadable)
    assert len(found.text) <= 101
    assert match_protected([], "etl", []) == []


@pytest.mark.parametrize("task_id", ["load", "load.per_region", "a-b", r"odd\\[1]*(x)+?{2}|^$"])
def test_the_pattern_of_one_task_matches_it_alone(task_id):
    pattern = Regex(exactly(task_id))
    assert task_id_of(exactly(task_id)) == task_id
    assert pattern.search(task_id)
    assert not any(pattern.search(other) for other in (f"x{task_id}", f"{task_id}x", "load_per_region", ""))


@pytest.mark.parametrize("pattern", ["", "^", "^load", "load$", "^lo.*$", "^lo(ad)$", r"^lo\ad$"])
def test_any_other_pattern_is_no_task(pattern):
    assert task_id_of(pattern) == ""
