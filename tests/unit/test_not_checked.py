"""The finding about checks that did not finish in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from safe_clear_plugin.findings.registry import AREAS, CHECKS, checks_without_facts, run_checks

PAGES = Path(__file__).parents[2] / "docs" / "findings"


def find_without(*areas):
    [finding] = run_checks(dict.fromkeys(areas))
    assert finding.code == "not_checked"
    return finding


def test_a_check_is_grave_if_its_page_says_that_it_asks_for_a_tick_or_refuses():
    for check in CHECKS:
        level = (PAGES / f"{check.code}.md").read_text().split("\n")[2]
        assert check.is_grave == level.startswith(("*To acknowledge", "*Refused")), check.code


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.name)
def test_an_area_without_facts_has_none_of_its_checks_done(area):
    assert checks_without_facts({area.name: None}) == area.checks
    assert find_without(area.name).count == len(area.checks)


def test_an_acknowledgement_is_needed_only_where_a_missing_check_might_have_asked_for_one():
    assert find_without("concurrent_plans").level == "warn"
    assert find_without("dependencies").level == "acknowledge"


def test_the_gravest_checks_are_named_and_the_rest_is_counted():
    finding = find_without("pools", "capacity", "side_effects", "deadlines")
    assert finding.title == "10 checks did not finish in time"
    assert finding.detail.startswith("Not known: deadlines on which Airflow's clear fails; ")
    assert "; and 4 more." in finding.detail
