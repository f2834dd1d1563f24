"""The pasts that the live test of outcomes writes, as Airflow would have left them."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.configuration import conf
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import select


@pytest.mark.parametrize(
    ("kind", "offered"), [("approval", ["Approve", "Reject"]), ("asks", ["yes"]), ("inquires", ["yes"])]
)
def test_an_answered_question_offered_what_its_operator_offers(session, kind, offered):
    """Airflow keeps what was offered when the task asks again, and refuses an answer of another operator."""
    # Airflow 3.2 has not all tables that they write to.
    from tests.outcomes.play import write_examples
    from tests.outcomes.shapes import Example, Run, Shape, Task

    shape = Shape((Task("work", kind),))
    run = Run(1, states=((("work", -1), "success"),), asked=(("work", -1),))
    write_examples([Example("1:1", shape, shape, (run,))], Path(conf.get("core", "dags_folder")))
    detail = session.scalars(select(HITLDetail).join(TaskInstance, TaskInstance.id == HITLDetail.ti_id)).one()
    assert (detail.options, detail.chosen_options) == (offered, offered[:1])
