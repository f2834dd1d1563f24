"""The fingerprint of a plan."""

from __future__ import annotations

from dataclasses import replace

from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.plan import fingerprint
from safe_clear_plugin.core.planned_rows import StateChange


def test_a_fingerprint_depends_on_every_value_and_the_order():
    head, changes = ("plan", "etl", None), [StateChange("failed", None, Effect("clear"), 3)]
    others = [
        fingerprint(head[::-1], changes),
        fingerprint(head[:2], changes),
        fingerprint(("plan", "etl", ""), changes),
        fingerprint(("planetl", "", None), changes),
        fingerprint(head, [replace(changes[0], count=4)]),
        fingerprint(head, [replace(changes[0], before=None)]),
        fingerprint(head),
    ]
    assert fingerprint(head, changes) == fingerprint(iter(head), tuple(changes))
    assert len({fingerprint(head, changes), *others}) == 8
