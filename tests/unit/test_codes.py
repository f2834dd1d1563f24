"""English is for people: no code of the package compares, splits or searches a sentence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import safe_clear_plugin
from safe_clear_plugin.core.codes import Code
from safe_clear_plugin.core.effects import Effect

PACKAGE = Path(safe_clear_plugin.__file__).parent
WORDS = re.compile(r"[A-Za-z]{2,} [A-Za-z]{2,}")
SEARCHES = {
    *("startswith", "endswith", "removeprefix", "removesuffix", "split", "rsplit", "partition", "rpartition"),
    *("find", "replace", "contains", "search", "match", "fullmatch"),
}
NOT_OURS = {
    # The texts of SQLite's errors, which have no codes on Python 3.10.
    "database_errors.py",
    # RE2's, which has none either.
    "regex.py",
}


def sentences(node: ast.AST) -> Iterator[str]:
    """Yield the constants in an expression that are words with a space between them."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and WORDS.search(part.value):
            yield part.value


def sentences_as_data(source: str) -> list[tuple[int, str]]:
    """Return the sentences that source code compares or searches for, by line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            used = [text for side in (node.left, *node.comparators) for text in sentences(side)]
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SEARCHES
        ):
            used = [text for argument in node.args for text in sentences(argument)]
        else:
            continue
        found.extend((node.lineno, text) for text in used)
    return found


@pytest.mark.parametrize(
    "source",
    [
        'why == "whole run"',
        '"not in the DAG" in why',
        'why.startswith(("matched", "whole run"))',
        'sentence.split("Running ones")',
        'column.contains("task not in the DAG")',
    ],
)
def test_the_check_finds_a_sentence_that_is_used_as_data(source):
    assert sentences_as_data(source)


def test_the_check_lets_codes_pass():
    assert sentences_as_data('state == "up_for_retry" or name.split(", ")') == []


def test_no_sentence_is_compared_split_or_searched():
    found = {
        f"{path.relative_to(PACKAGE)}:{line}": text
        for path in PACKAGE.rglob("*.py")
        if path.name not in NOT_OURS
        for line, text in sentences_as_data(path.read_text())
    }
    assert found == {}


IN_TEMPLATE = re.compile(r"""(?:[=!]=|\bin|replace\(|split\(|startswith\()\s*'[^'{}]*[A-Za-z]{2,}[^'{}]*'""")


def test_no_template_compares_or_cuts_a_sentence():
    assert IN_TEMPLATE.search("since == 'just now'")
    found = {
        f"{path.name}: {match.group()}"
        for path in (PACKAGE.parent / "templates").rglob("*.html")
        for match in IN_TEMPLATE.finditer(path.read_text())
        if WORDS.search(match.group())
    }
    assert found == set()


def test_a_code_is_its_text_in_f_strings_and_json():
    import json

    assert f"{Effect.CLEAR}" == str(Effect.CLEAR) == "clear"
    assert f"{Effect.CLEAR:>7}" == "  clear"
    assert json.dumps(Effect.CLEAR) == '"clear"'
    assert issubclass(Effect, Code)
