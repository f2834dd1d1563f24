"""Every check has its page, and every page its check."""

from __future__ import annotations

import re
from pathlib import Path

from safe_clear_plugin.core import input_limits
from safe_clear_plugin.findings.registry import CHECKS
from scripts.cli_docs import document

PAGES = Path(__file__).parents[2] / "docs" / "findings"
CODES = {check.code for check in CHECKS}


def test_every_check_has_a_page_that_says_what_it_means_and_what_to_do():
    for code in CODES:
        page = (PAGES / f"{code}.md").read_text()
        assert page.startswith("# ")
        for part in ("**Meaning.**", "**How it is checked.**", "**What to do.**"):
            assert part in page, (code, part)


def test_every_page_has_its_check():
    pages = {page.stem for page in PAGES.glob("*.md")} - {"README"}
    assert pages == CODES


def test_the_list_of_findings_has_each_page_by_its_title():
    listed = (PAGES / "README.md").read_text()
    for code in CODES:
        title = (PAGES / f"{code}.md").read_text().partition("\n")[0].removeprefix("# ")
        assert f"* [{title}]({code}.md)" in listed


def test_the_codes_are_unique():
    codes = [check.code for check in CHECKS]
    assert len(codes) == len(CODES)


def test_the_longest_lengths_are_said_as_they_are():
    text = (PAGES.parent / "api.md").read_text()
    for length in (
        f"{input_limits.ID} characters for an id or a filter",
        f"{input_limits.TASK_REGEX} for a regular expression",
        f"{input_limits.REASON:,} for a reason",
        f"{input_limits.LIST_ITEMS:,} values",
        f"{input_limits.BODY_BYTES // 1024**2} MiB",
        f"(100, at most {input_limits.PAGE_ROWS:,};",
    ):
        assert length in text, length
    assert input_limits.FILTER == input_limits.ID
    assert f"at most {input_limits.TASK_REGEX} characters" in (PAGES.parent / "limits.md").read_text()


def test_the_docs_use_each_picture_and_have_each_that_they_use():
    root = PAGES.parents[1]
    pictures = {path.name for path in (root / "docs" / "screenshots").iterdir()}
    used = set()
    for page in (*root.glob("*.md"), *root.glob("docs/**/*.md")):
        used |= set(re.findall(r"\]\([^)]*screenshots/([^)]+)\)", page.read_text()))
    assert pictures == used


def test_the_architecture_names_files_that_exist():
    root = PAGES.parents[1]
    text = (root / "docs" / "architecture.md").read_text()
    for name in re.findall(r"`((?:\w+/)+\w+\.(?:py|html|js))`", text):
        assert (root / name).exists() or (root / "safe_clear_plugin" / name).exists(), name


def test_the_page_of_the_command_line_is_what_the_parser_says():
    """To write it again: `.venv/bin/python -m scripts.cli_docs`."""
    page = (PAGES.parent / "cli.md").read_text()
    assert document(page) == page
