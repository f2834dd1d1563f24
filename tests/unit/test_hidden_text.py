"""Characters that are invisible in a terminal or a chat: found, written out, or left out."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from safe_clear_plugin.cli.literal_text import literal, literal_lines
from safe_clear_plugin.core.hidden_text import is_hidden
from safe_clear_plugin.core.webhook_text import shown

TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI", "BN")
EVERY = [chr(number) for number in range(sys.maxunicode + 1)]


def test_every_character_that_turns_the_direction_or_formats_is_hidden():
    bad = [
        hex(ord(char))
        for char in EVERY
        if (unicodedata.bidirectional(char) in TURNING or unicodedata.category(char) in ("Cc", "Cf", "Cs"))
        and not is_hidden(char)
    ]
    assert bad == []


@pytest.mark.parametrize(
    "char",
    [
        *("\u00ad", "\u061c", "\u200d", "\u200e", "\u2028", "\u2029", "\u2066", "\u2069", "\u206a", "\ufff9"),
        *("\u034f", "\u115f", "\u17b4", "\u180b", "\u180e", "\u3164", "\uffa0", "\ufe0f", "\ufff0"),
        *("\U0001d173", "\U000e0001", "\U000e0041", "\U000e0100", "\U000e01ef"),
    ],
    ids=ascii,
)
def test_what_is_drawn_as_nothing_is_written_out_in_a_terminal_and_left_out_of_a_chat(char):
    written = ascii(char).strip("'")
    assert literal(f"a{char}b") == f"a{written}b"
    assert shown(f"a{char}b") in ("ab", "a b")


@pytest.mark.parametrize("text", ["sales_etl", "Grüße", "日本語", "запуск", "עברית", "हिन्दी", "🎉", "a b"])
def test_what_shows_stays_as_it_is(text):
    assert literal(text) == shown(text) == text


def test_lines_of_a_person_stay_lines_and_hide_nothing():
    assert literal_lines("a\nb\x07\u202ec") == ["a", "b\\x07\\u202ec"]
    assert literal("a\nb") == "a\\x0ab"
