"""Examples that have been cleared and played to their end on a live scheduler."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.backends import METADATA
from tests.support.options import chosen
from tests.support.server import REPOSITORY, AirflowServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.outcomes.play import Played
    from tests.support.backends import Backend

KEPT_LOGS = REPOSITORY / "test-results" / "outcomes"
SEED = 6
"""One whose examples have every outcome of a task instance."""
EXAMPLES, FULL_EXAMPLES = 15, 300


@dataclass
class Stage:
    """The examples that were cleared, those that were refused, and how long it all took."""

    played: list[Played]
    refused: list[Played]
    seconds: dict[str, float]
    moved_while_paused: list[str]


def example_names() -> tuple[list[str], int]:
    """Return the seeds to draw examples of, more than needed, and how many to clear.

    ``OUTCOMES=7:12,7:40`` plays these again; ``OUTCOMES=7`` plays as many of one seed as are due.
    """
    asked, number = os.environ.get("OUTCOMES", ""), FULL_EXAMPLES if chosen.full else EXAMPLES
    if ":" in asked:
        names = [name.strip() for name in asked.split(",")]
        return names, len(names)
    number = int(os.environ.get("OUTCOMES_NUMBER", number))
    seed = asked or str(secrets.randbelow(10**6) if chosen.full else SEED)
    return [f"{seed}:{index}" for index in range(number + number // 2 + 5)], number


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest, backend: Backend, airflow_db: None) -> Iterator[Stage]:
    """Draw the examples, clear them, start a scheduler, and wait until nothing moves."""
    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    server = AirflowServer(
        backend.url(METADATA), folder, dags_folder=folder, auth="simple", AIRFLOW__CORE__PARALLELISM="4"
    )
    try:
        # It starts while the examples are written, and is there before the scheduler has a task to run.
        server.launch(())
        stage = _clear(folder)
        server.wait_until_up(())
        _play(stage, server)
        yield stage
    finally:
        if request.session.testsfailed:
            server.keep_logs(KEPT_LOGS)
        server.stop()


def _clear(folder: Path) -> Stage:
    from tests.outcomes.examples import draw_example
    from tests.outcomes.play import clear_example, write_examples

    names, number = example_names()
    begun = time.monotonic()
    examples = [draw_example(name) for name in names]
    write_examples(examples, folder)
    stage = Stage([], [], {"writing": time.monotonic() - begun}, [])
    begun = time.monotonic()
    for example in examples:
        if len(stage.played) < number:
            played = clear_example(example)
            (stage.refused if played.refused else stage.played).append(played)
    stage.seconds["clearing"] = time.monotonic() - begun
    _forget(examples[len(stage.played) + len(stage.refused) :])
    return stage


def _forget(examples: list) -> None:
    """Keep the scheduler from what is left over."""
    from airflow import settings
    from airflow.models.dag import DagModel
    from sqlalchemy import update

    with settings.NonScopedSession() as session:
        left_over = [example.dag_id for example in examples]
        session.execute(update(DagModel).where(DagModel.dag_id.in_(left_over)).values(is_paused=True))
        session.commit()


def _play(stage: Stage, server: AirflowServer) -> None:
    from tests.outcomes.play import snapshot, unpause

    begun = time.monotonic()
    paused = [one.example.dag_id for one in stage.played if one.example.paused]
    cleared = snapshot(paused)
    server.add("scheduler")
    stage.seconds["starting"] = time.monotonic() - begun
    begun = time.monotonic()
    _play_to_the_end(stage, server)
    stage.moved_while_paused = [d for d, found in snapshot(paused).items() if found != cleared[d]]
    if paused:
        unpause(paused)
        _play_to_the_end(stage, server)
    stage.seconds["scheduling"] = time.monotonic() - begun


def _play_to_the_end(stage: Stage, server: AirflowServer) -> None:
    """Wait until nothing moves, answer whatever asks a person, and wait again."""
    from tests.outcomes.answers import answer_all
    from tests.outcomes.play import Quiet

    timeout = 240 + 6 * len(stage.played)
    server.wait_until(Quiet(stage.played).has_come, "nothing moves any more", timeout)
    while answer_all(stage.played, server):
        server.wait_until(Quiet(stage.played).has_come, "nothing moves any more", timeout)
