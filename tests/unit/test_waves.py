"""Waves: what a clear does next, decided from plain counts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_clear_plugin.core.problems import Invalid
from safe_clear_plugin.core.waves import (
    Decision,
    RunCounts,
    RunOrder,
    RunProgress,
    Then,
    WaveReason,
    Waves,
    WaveState,
    decide,
)
from safe_clear_plugin.web.waves import wave_text

NOW = datetime(2026, 11, 29, 12, tzinfo=timezone.utc)
LATER = NOW + timedelta(hours=1)

few = st.integers(1, 4)
progress = st.sampled_from([one for one in RunProgress if one is not RunProgress.UNTOUCHED])


@st.composite
def any_waves(draw):
    first = draw(st.none() | few)
    return Waves(
        first_runs=first,
        then=draw(st.sampled_from(Then)) if first else None,
        at_most_runs=draw(st.none() | few),
        stop_after_failed=draw(st.none() | few),
        order=draw(st.sampled_from(RunOrder)),
        not_before=draw(st.none() | st.just(LATER)),
    )


counts = st.builds(
    RunCounts,
    **dict.fromkeys(
        ("untouched", "running_again", "waiting", "failing", "failed", "done"), st.integers(0, 5)
    ),
)


@dataclass
class Clear:
    """A clear of some runs, in the hands of its waves and of what becomes of the runs."""

    waves: Waves
    runs: list[RunProgress]
    now: datetime = NOW
    passed: bool = False
    asked: list[WaveReason] = field(default_factory=list)

    @property
    def counts(self):
        return RunCounts(**{one.value: self.runs.count(one) for one in RunProgress})

    def look(self):
        """Clear what may be cleared now, and return what was decided."""
        decision = decide(self.waves, self.counts, self.now, passed=self.passed)
        for _ in range(decision.runs):
            self.runs[self.runs.index(RunProgress.UNTOUCHED)] = RunProgress.RUNNING_AGAIN
        return decision

    def happen(self, number, what):
        """Let something become of a cleared run that is under way."""
        under_way = [i for i, one in enumerate(self.runs) if one in (RunProgress.RUNNING_AGAIN, "failing")]
        if under_way:
            self.runs[under_way[number % len(under_way)]] = what


events = st.lists(st.tuples(st.integers(0, 20), progress), max_size=40)


@given(any_waves(), st.integers(0, 12), events)
def test_no_history_ever_clears_more_than_the_waves_allow(waves, runs, happened):
    clear = Clear(waves, [RunProgress.UNTOUCHED] * runs, now=LATER)
    cleared_before = 0
    for number, what in [(0, RunProgress.RUNNING_AGAIN), *happened]:
        stopped = clear.counts
        decision = clear.look()
        found = clear.counts
        assert found.cleared >= cleared_before, "monotone"
        cleared_before = found.cleared
        if waves.at_most_runs and decision.runs:
            assert found.unfinished <= waves.at_most_runs
        if waves.first_runs and waves.then is Then.ASK:
            assert found.cleared <= waves.first_runs, "nobody went on"
        if waves.first_runs and found.cleared > waves.first_runs >= stopped.cleared:
            assert stopped.done == stopped.cleared, "the first runs all succeeded"
        if waves.stop_after_failed and stopped.failures >= waves.stop_after_failed:
            assert found.cleared == stopped.cleared, "nothing more once so many failed"
        clear.happen(number, what)


@given(any_waves(), counts, st.sampled_from(["running_again", "waiting", "failing", "failed"]), st.booleans())
def test_a_run_that_does_worse_never_lets_more_be_cleared(waves, found, worse, passed):
    if not found.done:
        return
    after = replace(found, done=found.done - 1, **{worse: getattr(found, worse) + 1})
    assert decide(waves, after, LATER, passed=passed).runs <= decide(waves, found, LATER, passed=passed).runs


@given(any_waves(), counts, st.booleans())
def test_only_clearing_clears_and_it_always_does(waves, found, passed):
    decision = decide(waves, found, NOW, passed=passed)
    assert (decision.state is WaveState.CLEARING) == (decision.runs > 0)
    assert decision.runs <= found.untouched
    assert (decision.state is None) == (not found.untouched)
    assert (decision.state is WaveState.WAITING_FOR_PERSON) == (decision.reason is not None)
    assert (decision.state is WaveState.SCHEDULED) == (decision.until is not None)


@given(any_waves(), counts, st.booleans())
def test_it_waits_for_runs_only_while_some_are_under_way(waves, found, passed):
    if decide(waves, found, LATER, passed=passed).state is WaveState.WAITING_FOR_RUNS:
        assert found.unfinished


def test_all_at_once_clears_everything():
    assert decide(Waves(), RunCounts(untouched=9), NOW, passed=False) == Decision(WaveState.CLEARING, 9)


def test_the_first_runs_wait_for_their_end_before_anybody_is_asked():
    waves = Waves(first_runs=2, then=Then.ASK)
    assert decide(waves, RunCounts(5), NOW, passed=False).runs == 2
    assert decide(waves, RunCounts(4, running_again=1), NOW, passed=False).runs == 1
    waiting = decide(waves, RunCounts(3, running_again=1, done=1), NOW, passed=False)
    assert waiting == Decision(WaveState.WAITING_FOR_RUNS)
    asked = decide(waves, RunCounts(3, done=2), NOW, passed=False)
    assert asked == Decision(WaveState.WAITING_FOR_PERSON, reason=WaveReason.FIRST_DONE)
    assert decide(waves, RunCounts(3, done=2), NOW, passed=True).runs == 3


@pytest.mark.parametrize("then", Then)
def test_a_first_run_that_fails_asks_at_once(then):
    waves = Waves(first_runs=3, then=then)
    for found in (RunCounts(5, running_again=2, failing=1), RunCounts(7, failed=1)):
        decision = decide(waves, found, NOW, passed=False)
        assert decision == Decision(WaveState.WAITING_FOR_PERSON, reason=WaveReason.FIRST_FAILED)


def test_first_runs_that_succeed_let_the_rest_go_on():
    waves = Waves(first_runs=2, then=Then.GO_ON)
    assert decide(waves, RunCounts(3, done=2), NOW, passed=False).runs == 3
    assert decide(waves, RunCounts(2, running_again=1, done=2), NOW, passed=False).runs == 2


def test_first_runs_that_show_nothing_ask():
    decision = decide(Waves(first_runs=1, then=Then.GO_ON), RunCounts(3, waiting=1), NOW, passed=False)
    assert decision == Decision(WaveState.WAITING_FOR_PERSON, reason=WaveReason.FIRST_INCONCLUSIVE)


def test_runs_that_wait_for_ever_do_not_hold_up_the_others():
    assert (
        decide(Waves(at_most_runs=2), RunCounts(5, waiting=9, running_again=1), NOW, passed=False).runs == 1
    )


def test_failures_that_somebody_went_on_without_do_not_count_again():
    waves = Waves(stop_after_failed=2)
    found = RunCounts(5, failed=2)
    assert decide(waves, found, NOW, passed=False).reason is WaveReason.TOO_MANY_FAILED
    assert decide(waves, replace(found, skipped=2), NOW, passed=False).runs == 5
    assert decide(waves, replace(found, failed=3, skipped=2), NOW, passed=False).runs == 5


def test_it_does_not_begin_before_its_time():
    waves = Waves(not_before=LATER)
    assert decide(waves, RunCounts(5), NOW, passed=False) == Decision(WaveState.SCHEDULED, until=LATER)
    assert decide(waves, RunCounts(5), LATER, passed=False).runs == 5


@given(any_waves())
def test_waves_come_back_from_json(waves):
    assert Waves.from_json(json.loads(json.dumps(waves.to_json()))) == waves


@pytest.mark.parametrize(
    ("given", "at"),
    [
        ({"first_runs": 0, "then": Then.ASK}, "first_runs"),
        ({"first_runs": -1, "then": Then.ASK}, "first_runs"),
        ({"first_runs": True, "then": Then.ASK}, "first_runs"),
        ({"first_runs": "3", "then": Then.ASK}, "first_runs"),
        ({"first_runs": 3}, "then"),
        ({"then": Then.GO_ON}, "then"),
        ({"at_most_runs": 0}, "at_most_runs"),
        ({"at_most_runs": 1.0}, "at_most_runs"),
        ({"stop_after_failed": 0}, "stop_after_failed"),
        ({"not_before": datetime(2026, 1, 1)}, "not_before"),
    ],
)
def test_waves_that_make_no_sense_are_refused_at_their_field(given, at):
    with pytest.raises(Invalid) as refused:
        Waves(**given)
    assert [problem.field for problem in refused.value.problems] == [at]


@pytest.mark.parametrize(
    ("waves", "text"),
    [
        (None, "All at once"),
        (Waves(), "All at once"),
        (Waves(first_runs=1, then=Then.ASK), "First 1 run, then wait for a person"),
        (
            Waves(first_runs=2, then=Then.GO_ON, at_most_runs=3, stop_after_failed=1, order=RunOrder.NEWEST),
            "First 2 runs, then go on if all succeeded; at most 3 runs unfinished at a time; "
            "a person decides after 1 failed run; newest runs first",
        ),
        (Waves(not_before=NOW), "Not before 2026-11-29 12:00 UTC"),
    ],
)
def test_waves_are_said_in_a_line(waves, text):
    assert wave_text.describe(waves) == text


def test_the_strip_has_each_run_once():
    found = RunCounts(1, 2, 3, 4, 5, 6, 7, skipped=2)
    assert sum(part.count for part in wave_text.strip(found)) == 28
    assert [part.name for part in wave_text.strip(RunCounts(untouched=1))] == ["untouched"]
