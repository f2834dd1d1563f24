"""Seven small bars: on how many dag runs of each day something failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from safe_clear_plugin.core.formats import count
from safe_clear_plugin.web.app.moments import MONTHS, utc

HEIGHT, WIDTH, GAP, LEAST = 20, 6, 3, 3


@dataclass(frozen=True, slots=True)
class Bar:
    """The bar of a day."""

    x: int
    y: int
    height: int
    is_empty: bool


@dataclass(frozen=True, slots=True)
class Sparkline:
    """The bars, and the same in words."""

    bars: list[Bar]
    width: int
    height: int
    text: str


def sparkline(numbers: Sequence[int], until: datetime) -> Sparkline:
    """Draw the numbers of the days before a moment, the last day last."""
    most = max(1, *numbers)
    bars = []
    for place, number in enumerate(numbers):
        height = max(LEAST, round(HEIGHT * number / most)) if number else LEAST
        bars.append(Bar(place * (WIDTH + GAP), HEIGHT - height, height, not number))
    said = [
        f"{count(number, 'run')} on {_day(until - timedelta(days=len(numbers) - 1 - place))}"
        for place, number in enumerate(numbers)
        if number
    ]
    return Sparkline(bars, len(bars) * (WIDTH + GAP) - GAP, HEIGHT, ", ".join(said))


def _day(moment: datetime) -> str:
    """Name the day in UTC on which the 24 hours end."""
    moment = utc(moment)
    return f"{moment.day} {MONTHS[moment.month - 1]}"
