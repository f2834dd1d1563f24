"""Characters that are invisible, or that change how the text around them is shown."""

from __future__ import annotations

import re
import unicodedata

HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Controls, format characters (these include all that turn the direction of writing), halves of characters,
and separators of lines and paragraphs."""

_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""``Default_Ignorable_Code_Point`` of Unicode: characters that are drawn as nothing, such as tags and
variation selectors."""


def is_hidden(char: str) -> bool:
    """Whether a character is invisible, ends a line, or turns the direction of the text after it."""
    return unicodedata.category(char) in HIDDEN_CATEGORIES or _IGNORABLE.match(char) is not None
