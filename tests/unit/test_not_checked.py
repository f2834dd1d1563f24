"""What is said of checks that did not finish in time."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from safe_clear_plugin.core.findings import (
    CHECKS,
    Facts,
    LimitFacts,
    RunningFacts,
    StartingFacts,
    VersionFacts,
    find,
)

PAGES = Path(__file__).parents[2] / "docs" / "findings"
ALL_KNOWN = Facts(
    limits=LimitFacts(), running=RunningFacts(), starting=StartingFacts("etl"), versions=VersionFacts()
)


def found(**areas):
    return {one.code: one for one in find(replace(ALL_KNOWN, **areas))}


def test_a_check_is_grave_if_its_page_says_that_it_asks_for_a_tick_or_refuses():
    for checks in CHECKS.values():
        for check in checks:
            level = (PAGES / f"{check.code}.md").read_text().split("\n")[2]
            assert check.is_grave == level.startswith(("*To acknowledge", "*Refused")), check.code


def test_every_area_can_be_missing_and_then_all_of_its_checks_are_named():
    for one in fields(Facts):
        facts = replace(ALL_KNOWN, **{one.name: None})
        assert facts.not_checked.checks == CHECKS[one.name]
        [only] = find(facts)
        assert (only.code, only.count) == ("not_checked", len(CHECKS[one.name]))


def test_nothing_missing_is_nothing_said():
    assert found() == {}


def test_it_takes_a_tick_only_where_a_missing_check_might_have_asked_for_one():
    assert found(others=None)["not_checked"].level == "warn"
    assert found(neighbours=None)["not_checked"].level == "acknowledge"


def test_the_gravest_are_named_and_the_rest_is_counted():
    said = found(capacity=None, firing=None, deadlines=None)["not_checked"]
    assert said.title == "10 checks did not finish in time"
    assert said.detail.startswith(
        "Whether there is any of this is not known: deadlines that Airflow's clear cannot move; "
    )
    assert "; and 4 more." in said.detail
