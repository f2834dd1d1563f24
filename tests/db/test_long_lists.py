"""Statements about long lists: PostgreSQL takes 65,535 parameters, and SQLite as few as 32,766."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from airflow.models.log import Log
from sqlalchemy import select, update

from safe_clear_plugin.airflow_api.auth.teams import dags_by_id
from safe_clear_plugin.airflow_api.clear import logged_clears
from safe_clear_plugin.airflow_api.dag import outlets_and_triggers, waiting_sensors
from safe_clear_plugin.airflow_api.platform.airflow_tables import dag_run, log, task_instance
from safe_clear_plugin.airflow_api.platform.key_table import MAX_PARAMETERS, is_among, is_named
from safe_clear_plugin.airflow_api.selection import select_runs
from safe_clear_plugin.airflow_api.selection.select_task_instances import task_instance_conditions
from safe_clear_plugin.core.history import HistoryFilter
from safe_clear_plugin.core.plan import TeamDag
from safe_clear_plugin.core.plan_filters import PlanFilter
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.history import list_history
from safe_clear_plugin.storage.plans import history, plan_list
from safe_clear_plugin.storage.tables import plan
from safe_clear_plugin.storage.undo import undo_batches
from safe_clear_plugin.storage.undo.run_verdicts import run_verdicts
from safe_clear_plugin.storage.undo.verdicts import task_instance_verdicts
from tests.db.acting import now, plan_of
from tests.db.change_set_acting import days, fake_auth_manager, set_of
from tests.support.scenes import store_etl
from tests.support.statements import bound_parameters

pytestmark = [pytest.mark.backend, pytest.mark.driver, pytest.mark.sqlite]

DAGS = 20_000
RUNS = 10_000
FEW = 250
"""Parameters of a statement without its lists."""
HOSTILE = (
    "it's",
    'say "no"',
    "100%",
    "100%s",
    "%(dag_id)s",
    "a\\b",
    "a:b",
    "${x}",
    "naïve ☂ 日本",
    "x" * 250,
    "[1]",
    "null",
    "12",
    " padded ",
)
TEAMS = ("finance", "sales")


@pytest.fixture(autouse=True)
def rights(monkeypatch):
    return fake_auth_manager(monkeypatch)


def many(number=DAGS):
    return [f"{'dag_with_a_long_name_' * 3}{place:05}" for place in range(number)]


def move(session, made, dag_id, team=None):
    """Make a plan one of another DAG, as the history reads it."""
    values = {"dag_id": dag_id, "team_name": team, "status": "applied", "applied_at": now()}
    session.execute(update(plan).where(plan.c.id == UUID(made.id)).values(**values))
    session.commit()


def log_clear(session, dag_id):
    row = Log(event="post_clear_task_instances", owner="ann", owner_display_name="ann", dag_id=dag_id)
    row.extra = json.dumps({"dry_run": False})
    session.add(row)
    session.commit()
    return row.id


def filter_of(dags, **more):
    return HistoryFilter(now=now(), dags=dags, set_dags=dags, logged_dags=dags, by_set=True, **more)


def counted(session, dags):
    with bound_parameters(session) as numbers:
        found = history.count_clears(filter_of(dags), session)
        history.history(filter_of(dags), "-at", session, offset=0, limit=50)
        history.count_history(filter_of(dags, drafts=True), session)
        plans = plan_list.count_plans(PlanFilter(now=now(), dags=dags), session)
        plan_list.plans(PlanFilter(now=now(), dags=dags), session)
    return found, plans, max(numbers)


@pytest.fixture
def dag(session):
    return store_etl(session, runs=2)


@pytest.mark.usefixtures("dag")
def test_the_history_binds_as_many_values_for_all_dags_as_for_one(session):
    made = [plan_of(Selection("etl", run_id=("run_1",))) for _ in range(3)]
    for one, dag_id, team in zip(made, ("mine", "ours", "hidden"), (None, "sales", "sales"), strict=True):
        move(session, one, dag_id, team)
        log_clear(session, dag_id)
    teams = {name: TEAMS[place % 2] if place % 3 else None for place, name in enumerate(many())}
    dags = [TeamDag(*item) for item in teams.items()]
    seen = [TeamDag("mine"), TeamDag("ours", "sales"), TeamDag("hidden")]
    small, large = (counted(session, given) for given in (seen, [*dags, *seen]))
    assert small == large
    assert large[0] == (2, 3)
    assert large[1] == 2
    assert large[2] < FEW


@pytest.mark.usefixtures("dag")
@pytest.mark.parametrize("dag_id", HOSTILE)
def test_the_history_finds_a_dag_by_any_id(session, dag_id):
    made = plan_of(Selection("etl", run_id=("run_1",)))
    move(session, made, dag_id)
    log_clear(session, dag_id)
    others = [TeamDag(one) for one in (*many(3), *HOSTILE) if one != dag_id]
    assert counted(session, others)[:2] == ((0, 0), 0)
    assert counted(session, [*others, TeamDag(dag_id)])[:2] == ((1, 1), 1)
    assert counted(session, [*others, TeamDag(dag_id, "sales")])[:2] == ((0, 1), 0)


def test_a_set_is_one_entry_among_many_dags(session):
    for dag_id in ("dag_a", "dag_b"):
        store_etl(session, dag_id, runs=2)
    made = set_of("dag_a", "dag_b", what=days(1, 2))
    others = [TeamDag(dag_id) for dag_id in many(3_000)]
    wanted = filter_of([*others, *map(TeamDag, ("dag_a", "dag_b"))], drafts=True)
    for dags, expected in ((wanted.dags, made.id), (wanted.dags[:-1], made.plans[0].id)):
        seen = replace(wanted, dags=dags, set_dags=dags)
        (key,) = history.history(seen, "-at", session, offset=0, limit=50)
        assert (key.set_id or key.plan_id) == UUID(expected)


@pytest.mark.usefixtures("dag")
def test_clears_over_several_dags_are_found_by_their_ids(session):
    ids = [log_clear(session, "~") for _ in range(3)]
    wanted = filter_of([TeamDag("etl")], bulk_ids=[*ids[:2], *range(10**6, 10**6 + DAGS)])
    with bound_parameters(session) as numbers:
        assert history.count_clears(wanted, session) == (0, 2)
        assert set(logged_clears.clears(wanted.bulk_ids, session)) == set(ids[:2])
    assert max(numbers) < FEW


def test_the_page_of_the_history_reads_every_dag_in_few_values(session):
    session.execute(
        Log.__table__.insert(),
        [
            {"event": "post_clear_task_instances", "dag_id": dag_id, "extra": "{}", "dttm": now()}
            for dag_id in (*many(), *HOSTILE)
        ],
    )
    session.commit()
    wanted = HistoryFilter(now=now(), by_set=True, since=now() - timedelta(days=1))
    with bound_parameters(session) as numbers:
        found = list_history(wanted, "", "-at", None, session, offset=0, limit=50)
    assert found.total == DAGS + len(HOSTILE) or not found.complete
    assert max(numbers) <= MAX_PARAMETERS


def test_dags_are_looked_up_in_few_values(session, dag):
    wanted = [*many(), "etl", *HOSTILE]
    with bound_parameters(session) as numbers:
        assert [one.dag_id for one in dags_by_id(wanted, session)] == wanted
        assert [row.dag_id for row in outlets_and_triggers.dags_in_use(wanted, session)] == ["etl"]
    assert max(numbers) < FEW


def test_waiting_dags_are_read_in_few_values(session, dag, monkeypatch):
    rows = {uuid4(): ("other", ("wait",)) for _ in range(DAGS)}
    monkeypatch.setattr(waiting_sensors.external_sensors, "waiting_rows", lambda *_: rows)
    with bound_parameters(session) as numbers:
        assert waiting_sensors.waiting_sensors("etl", ["load"], session) == []
    assert max(numbers) < FEW


def narrowed(session, **lists):
    selection = Selection("etl", **lists)
    scope = select_runs.Scope(selection, None, None, selection.run_id)
    runs = select(dag_run.c.run_id).where(select_runs.run_conditions(scope))
    query = select(task_instance.c.run_id, task_instance.c.task_id).where(
        task_instance.c.dag_id == "etl",
        task_instance.c.run_id.in_(runs),
        *task_instance_conditions(task_instance, selection),
    )
    return {tuple(row) for row in session.execute(query)}


def test_a_selection_with_long_lists_binds_few_values(session, dag):
    others = many(RUNS)
    with bound_parameters(session) as numbers:
        both = narrowed(session, run_id=(*others, "run_1", "run_2"))
        one = narrowed(session, run_id=(*others, "run_1", "run_2"), exclude_run_id=(*others, "run_2"))
        less = narrowed(session, run_id=(*others, "run_1"), exclude_task_id=(*others, "load"))
        assert narrowed(session, partition_key=tuple(others)) == set()
        assert select_runs.missing_runs("etl", (*others, "run_1"), session) == others
        assert select_runs.missing_partition_keys("etl", others, session) == others
        named = select_runs.anchor_runs(Selection("etl", run_id=(*others, "run_1")), session)
    assert {run_id for run_id, _ in both} == {"run_1", "run_2"}
    assert one == {key for key in both if key[0] == "run_1"}
    assert less == {key for key in one if key[1] != "load"} != one
    assert [row.run_id for row in named] == ["run_1"]
    assert max(numbers) < FEW


@pytest.mark.parametrize("number", [1, 1_500])
def test_a_list_of_any_length_names_exactly_its_values(session, number):
    for name in HOSTILE:
        log_clear(session, name)
    known = set(session.scalars(select(log.c.dag_id).where(log.c.dag_id.in_(HOSTILE))))
    assert known == set(HOSTILE)
    for name in HOSTILE:
        values = [*many(number), name]
        for condition in (is_named(log.c.dag_id, values), is_among(log.c.dag_id, values)):
            assert session.scalars(select(log.c.dag_id).where(condition)).all() == [name]
            rest = session.scalars(select(log.c.dag_id).where(~condition)).all()
            assert set(rest) == known - {name}
        longer = [f"{one}x" for one in values]
        assert not session.scalars(select(log.c.dag_id).where(is_named(log.c.dag_id, longer))).all()


@pytest.mark.parametrize("condition", [is_named, is_among])
def test_an_empty_list_names_nothing(session, condition):
    log_clear(session, "etl")
    assert session.scalars(select(log.c.id).where(condition(log.c.id, []))).all() == []
    assert len(session.scalars(select(log.c.id).where(~condition(log.c.id, []))).all()) == 1


def test_an_undo_of_many_runs_binds_few_values(session, dag):
    made = plan_of(Selection("etl", run_id=("run_1",)))
    plan_id, runs = UUID(made.id), many(RUNS)
    with bound_parameters(session) as numbers:
        verdicts = task_instance_verdicts(plan_id, "etl", runs)
        session.execute(select(run_verdicts(plan_id, "etl", verdicts, runs))).all()
        assert undo_batches.next_runs(plan_id, 10, session, runs) == []
        assert undo_batches.not_asked_for(plan_id, runs, session) == runs
        assert undo_batches.request_undo(plan_id, runs, now(), session) == 0
    assert max(numbers) < FEW
