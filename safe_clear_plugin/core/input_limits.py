"""Maximum lengths of a request's texts, lists and body, and of the parts that an answer repeats."""

from __future__ import annotations

ID = 250
"""Characters of a DAG id, a task id or a run id; Airflow's columns hold no more."""
TASK_REGEX = 500
"""Characters of a regular expression: RE2 takes time and memory by the pattern, not by the text."""
REASON = 2_000
DATE = 64
TIMEZONE = 100
WORD = 100
"""Characters of a fingerprint, a code, a state or the name of a field."""
FILTER = 250
"""Characters of a text that filters a list: no name that it could find is longer."""
NAMES = 50
"""Names in a filter that people choose by hand."""
LIST_ITEMS = 10_000
"""Maximum number of values in a list. A database takes about that many in one statement."""
CODES = 200
"""Findings that one request acknowledges."""
BODY_BYTES = 3 * 1024 * 1024
"""Holds one list of the longest ids."""
ECHOED_BYTES = 16 * 1024
"""Size of a request up to which a page shows again what was typed, too long or not."""
PAGE_ROWS = 1_000
"""Rows of one page of JSON."""
OFFSET = 2**31
MAP_INDEX = 2**31 - 1

NAMES_SHOWN = 10
"""Maximum number of names that a refusal repeats: enough to see the mistake."""


def shortened(text: str, most: int = WORD) -> str:
    """Return the text as a refusal repeats it: its beginning, where it is long."""
    return text if len(text) <= most else f"{text[:most]}…"
