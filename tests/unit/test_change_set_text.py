"""The selection of a change set, as a sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from safe_clear_plugin.core.change_set import ChangeSet, ChosenBy
from safe_clear_plugin.core.change_set_text import set_sentence
from tests.unit.test_change_set import LATER, NOW, PLAN


def set_of(*dag_ids: str) -> ChangeSet:
    return ChangeSet(
        id="1",
        made_from={"chosen_by": ChosenBy.WAITING, "selection": {"dag_id": "etl"}},
        left_out=(),
        fingerprint="",
        created_by="1",
        created_by_name="Me",
        created_at=NOW,
        expires_at=LATER,
        reason="",
        applied_by=None,
        applied_by_name=None,
        applied_at=None,
        plans=tuple(replace(PLAN, dag_id=dag_id) for dag_id in dag_ids),
    )


@pytest.mark.parametrize(
    ("dag_ids", "awaited", "sentence"),
    [
        (
            ("etl", "report"),
            "etl",
            "The plan of etl, plus the sensors in each Dag that waits for etl and everything downstream of "
            "them.",
        ),
        (
            ("report",),
            "etl",
            "The sensors in each Dag that waits for etl, and everything downstream of them.",
        ),
        (
            ("report",),
            "",
            "The sensors in each Dag that waits for a Dag outside this change set, and everything downstream "
            "of them.",
        ),
    ],
)
def test_the_sentence_names_the_awaited_dag_if_it_is_known(dag_ids, awaited, sentence):
    assert set_sentence(set_of(*dag_ids), awaited) == sentence
