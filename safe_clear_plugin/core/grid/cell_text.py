"""The words for a cell of the grid."""

from __future__ import annotations

from itertools import groupby

from safe_clear_plugin.core.grid.model import Cell, Segment
from safe_clear_plugin.core.states import state_name


def describe(found: Cell) -> str:
    """Describe a cell: ``2 Failed, 1 Success → No Status, 1 Running left out, matched``."""
    parts = []
    for (kind, after), group in groupby(found.segments, key=lambda one: (one.kind, one.after)):
        segments = list(group)
        alone = len(segments) == found.count == 1
        states = ", ".join(_counted(one, alone=alone) for one in segments)
        parts.append(_SAID[kind].format(states, state_name(after)))
    return "; ".join([*parts, found.why] if found.why else parts)


_SAID = {
    "clear": "{0} → {1}",
    "terminate": "{0} terminated → {1}",
    "create": "created → {1}",
    "restore": "{0} restored → {1}",
    "remove": "{0} → {1}",
    "leave_out": "{0} left out",
    "comes_back": "{0}, will be restored",
    "cleared": "{0}, cleared",
    "put_back": "{0}, restored",
    "stale": "{0}, will go stale",
    "untouched": "{0}",
}


def _counted(segment: Segment, *, alone: bool) -> str:
    word = state_name(segment.state)
    return word if alone else f"{segment.count:,} {word}"
