"""Examples by seed: the same seed draws the same example, on its own or among others."""

from __future__ import annotations

from random import Random

from tests.outcomes.asks import draw_selection
from tests.outcomes.changes import change_shape
from tests.outcomes.drawing import draw_shape
from tests.outcomes.pasts import draw_runs
from tests.outcomes.shapes import Example


def draw_example(name: str) -> Example:
    """Draw the example of a seed such as ``7:12``."""
    random = Random(name)
    before, features = draw_shape(random)
    after, changes = change_shape(before, random)
    runs, past = draw_runs(before, after, random)
    return Example(
        name,
        before,
        after,
        runs,
        draw_selection(before, after, runs, random),
        paused=random.random() < 0.05,
        features=(*features, *changes, *past),
    )
