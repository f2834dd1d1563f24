"""A DAG version that comes after the preview: followed where the plan rests on the same, else refused."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import partial
from uuid import UUID

import pytest
import time_machine
from airflow.models.dag_version import DagVersion
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.sdk import Asset
from sqlalchemy import select, update

from safe_clear_plugin.airflow_api.dag import version_history
from safe_clear_plugin.airflow_api.dag.dag_versions import latest_version_id
from safe_clear_plugin.airflow_api.platform.session import new_session
from safe_clear_plugin.core.problems import Refused
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services.clear import clear_batch
from safe_clear_plugin.storage.clear import drift
from safe_clear_plugin.storage.tables import plan_run, plan_task_instance
from tests.db.acting import clear, plan_of, reread, step, undo
from tests.db.changed_dags import (
    RUNS,
    a_b,
    dag_of,
    mapped,
    of,
    over,
    parse,
    parse_and_run,
    store_history,
    task,
    versions,
)
from tests.db.scheduler_looks import by_scheduler, live, look, look_once_without_starting, planned
from tests.db.undo_oracle import everything
from tests.support.factories import expand, make_run, set_states, store_dag
from tests.support.scenes import START
from tests.support.snapshots import diff_snapshots, snapshot
from tests.support.statements import statements
from tests.support.versions import alike, store_versions

OF_PARSING = {"dag", "dag_code", "dag_tag", "dag_version", "serialized_dag"}

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]


@pytest.fixture
def history(session):
    """Store a DAG with successful runs, then another version of it."""
    return partial(store_history, session)


@pytest.fixture
def one_run_a_batch(monkeypatch):
    """Clear run by run."""
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__BATCH_SIZE", "1")


def refusal(plan):
    """Confirm a plan that is refused, and return what is said to have changed."""
    with pytest.raises(Refused) as refused:
        step(plan)
    assert refused.value.status == 409
    rows = refused.value.details["drift"]
    return [(row["task_id"], row["attribute"], row["before"], row["now"], row["how"]) for row in rows]


CHANGES_NOTHING = [
    {"doc_md": "another text"},
    {"tags": ["nightly"]},
    {"description": "another description"},
    {"params": {"day": "2026-11-29T11:00:00"}},
]


@pytest.mark.parametrize("latest", [True, None], ids=["on the latest version", "as they are"])
@pytest.mark.parametrize("options", CHANGES_NOTHING, ids=lambda options: next(iter(options)))
def test_a_version_with_another_text_refuses_nothing(history, session, options, latest):
    history(a_b)
    plan = plan_of(of("b", run_on_latest_version=latest))
    parse(session, **options)
    assert versions(session) == 2
    assert clear(plan).cleared == 3


def test_a_version_that_is_rewritten_with_another_text_refuses_nothing(history, session):
    history(a_b, a_b, doc_md="second")
    plan = plan_of(of("b", run_on_latest_version=True))
    parse(session, doc_md="second, at another parse")
    assert versions(session) == 2
    assert clear(plan).cleared == 3


def test_what_is_cleared_gets_the_version_that_was_followed(history, session):
    history(a_b)
    plan = plan_of(of("b", run_on_latest_version=True))
    parse(session, doc_md="second")
    clear(plan)
    second = latest_version_id("etl", session)
    rows = live(session)
    assert {rows[run, "b", -1].dag_version_id for run in RUNS} == {second}
    assert set(session.scalars(select(DagRun.created_dag_version_id))) == {second}
    cleared = {key: row for key, row in planned(plan, session).items() if row.effect == "clear"}
    assert {row.after_dag_version_id for row in cleared.values()} == {second}
    uses = select(plan_run.c.uses_dag_version_id).where(plan_run.c.plan_id == UUID(plan.id))
    assert set(session.scalars(uses)) == {second}


@pytest.mark.usefixtures("one_run_a_batch")
@pytest.mark.parametrize("latest", [True, None], ids=["on the latest version", "as they are"])
def test_a_version_at_each_parse_is_followed_from_batch_to_batch(history, session, latest):
    history(a_b, a_b, doc_md="0")
    plan = step(plan_of(of("b", run_on_latest_version=latest)))
    parses = 0
    while plan.status == "applying":
        parses += 1
        parse(session, doc_md=f"parse {parses}")
        plan = step(plan)
    assert (plan.status, plan.stop_reason, plan.cleared_runs, parses) == ("applied", None, 3, 2)
    rows = live(session)
    got = [rows[run, "b", -1].dag_version_id for run in RUNS]
    said = planned(plan, session)
    assert got == [said[run, "b", -1].after_dag_version_id for run in RUNS]
    assert len(set(got)) == (3 if latest else 1)


@pytest.mark.usefixtures("one_run_a_batch")
def test_a_clear_across_versions_is_undone_to_what_was_before(history, session):
    history(a_b)
    before = everything(session)
    plan = step(plan_of(of("a", "b", run_on_latest_version=True)))
    parses = 0
    while plan.status == "applying":
        parses += 1
        parse(session, doc_md=f"parse {parses}")
        plan = step(plan)
    assert undo(plan).put_back == 6
    assert set(diff_snapshots(before, everything(session))) <= OF_PARSING


def test_a_version_that_comes_while_a_batch_is_cleared_is_followed(history, session, monkeypatch, backend):
    if backend.name == "sqlite":
        pytest.skip("nobody else can write on SQLite meanwhile")
    history(a_b)
    plan = plan_of(of("b", run_on_latest_version=True))
    real = clear_batch.clear_runs.clear
    parses = []

    def after_a_parse(*args, **options):
        if not parses:
            parses.append(1)
            parse(session, doc_md="meanwhile")
        return real(*args, **options)

    monkeypatch.setattr(clear_batch.clear_runs, "clear", after_a_parse)
    assert clear(plan).cleared == 3
    assert versions(session) == 2
    second = latest_version_id("etl", session)
    assert {live(session)[run, "b", -1].dag_version_id for run in RUNS} == {second}


def test_the_scheduler_creates_in_followed_runs_what_was_foreseen(history, session):
    def with_c():
        task("c", task("b", task("a")))

    history(a_b, with_c)
    plan = plan_of(of("b"))
    foreseen = by_scheduler(plan, session)
    parse(session, with_c, doc_md="third")
    clear(plan)
    look(rounds=4)
    assert {key for key in live(session) if key[1] == "c"} == set(foreseen)
    assert versions(session) == 2


@pytest.mark.parametrize("length", [None, 3], ids=["by results", "over literals"])
def test_a_followed_version_makes_the_scheduler_look_again_and_change_nothing(history, session, length):
    """A run of the latest version is not compared with it, but with the one after it."""

    def build():
        made = task("a")
        over("m", made) if length is None else mapped("m", length, made)

    [run] = history(build, runs=("run_1",))
    if length is None:
        set_states(run, {"m": None}, session=session)
        expand(run, "m", 2, session=session)
        set_states(run, {"m": "success"}, session=session)
    plan = plan_of(of("a"))
    before = live(session)
    parse(session, build, doc_md="second")
    assert versions(session) == 2
    clear(plan)
    look_once_without_starting(session)
    now = live(session)
    assert now.keys() == before.keys()
    assert {key: row.state for key, row in now.items() if key[1] == "m"} == {
        key: row.state for key, row in before.items() if key[1] == "m"
    }


def test_a_version_for_which_the_scheduler_would_create_a_missing_task_is_refused(history, session):
    """At the preview the run had the latest version, so that the scheduler left it as it was."""
    history(a_b)
    delete = TaskInstance.__table__.delete()
    session.execute(delete.where(TaskInstance.run_id == "run_2", TaskInstance.task_id == "a"))
    session.commit()
    plan = plan_of(of("b"))
    assert by_scheduler(plan, session) == {}
    parse(session, doc_md="second")
    rows = snapshot(session)
    said = refusal(plan)
    assert ("a", None, "left alone", "create", "the scheduler would now create it in 1 of the runs") in said
    assert set(diff_snapshots(rows, snapshot(session))) <= {"safe_clear_plan"}


def retries():
    task("b", task("a"), retries=3)


def two_roots():
    task("a")
    task("b")


def another_task():
    task("c", task("b", task("a")))


CHANGES = {
    "retries": (retries, ("b", "retries", "0", "3", "retries of the task changed")),
    "relations": (two_roots, ("b", "upstream", "a", "not set", "upstream of the task changed")),
    "a task": (another_task, ("c", None, "not there", "there", "the task was added")),
    "a lost task": (partial(task, "b"), ("a", None, "there", "not there", "the task was removed")),
    "trigger rule": (
        lambda: task("b", task("a"), trigger_rule="all_done"),
        ("b", "trigger_rule", "all_success", "all_done", "trigger_rule of the task changed"),
    ),
    "pool": (
        lambda: task("b", task("a", pool="small")),
        ("a", "pool", "default_pool", "small", "pool of the task changed"),
    ),
    "outlets": (
        lambda: task("b", task("a", outlets=[Asset("sales")])),
        (
            "a",
            "outlets",
            "not set",
            '[["SerializedAsset", "sales", "sales"]]',
            "outlets of the task changed",
        ),
    ),
    "mapping": (
        lambda: mapped("b", 2, task("a")),
        ("b", "mapping", "not set", '[["dict-of-lists", {"doc_md": 2}]]', "mapping of the task changed"),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_differs_is_named_with_its_task(history, session, change):
    build, expected = CHANGES[change]
    history(a_b)
    plan = plan_of(of("b"))
    parse(session, build)
    rows = snapshot(session)
    said = refusal(plan)
    assert said[0][4] == "etl changed; 3 of the runs would use the new version"
    assert expected in said
    assert set(diff_snapshots(rows, snapshot(session))) <= {"safe_clear_plan"}


def test_what_differs_in_a_rewritten_version_is_named(history, session):
    history(a_b, a_b, doc_md="second")
    plan = plan_of(of("b"))
    parse(session, retries)
    assert versions(session) == 2
    said = refusal(plan)
    assert said == [
        (None, None, "version 2", "changed or gone", "etl changed"),
        ("b", "retries", "0", "3", "retries of the task changed"),
    ]


@pytest.mark.parametrize(
    ("option", "value", "before", "now"),
    [("max_active_runs", 1, "16", "1"), ("fail_fast", True, "not set", "set")],
)
def test_what_differs_of_the_dag_is_named(history, session, option, value, before, now):
    history(a_b)
    plan = plan_of(of("b"))
    parse(session, **{option: value})
    assert refusal(plan)[1:] == [(None, option, before, now, f"{option} of the Dag changed")]


def test_a_start_date_at_each_parse_refuses_only_where_a_run_lies_between(history, session):
    def from_day(day):
        return lambda: task("b", task("a", start_date=START.replace(month=6, day=day)))

    history(from_day(1))
    plan = plan_of(of("b"))
    parse(session, from_day(2))
    assert clear(plan).cleared == 3
    plan = plan_of(of("b"))
    parse(session, lambda: task("b", task("a", start_date=START.replace(day=2))))
    [_, differs] = refusal(plan)
    assert differs[:2] == ("a", "start_date")


def test_a_plan_that_was_read_before_it_followed_a_version_follows_the_next_one(history, session):
    """As a request does that clears a batch once more, after a commit whose answer was lost."""
    history(a_b)
    plan = plan_of(of("b"))
    for number in range(2):
        parse(session, doc_md=f"parse {number}")
        with new_session() as own:
            assert drift.find_drift(plan, own) == ([], 0)
        make_run(dag_of(a_b), session=session, run_id=f"of_parse_{number}")
    assert versions(session) == 3


@pytest.mark.usefixtures("one_run_a_batch")
def test_a_version_that_differs_between_two_batches_stops_there(history, session):
    history(a_b)
    plan = step(plan_of(of("b")))
    parse(session, retries)
    plan = step(plan)
    assert (plan.status, plan.cleared_runs) == ("stopped", 1)
    assert [(row.task_id, row.attribute) for row in plan.stop_reason.moved] == [
        (None, None),
        ("b", "retries"),
    ]


def test_runs_of_their_own_version_stay_with_it(history, session):
    history(a_b, bundle_version="v1")
    first = latest_version_id("etl", session)
    plan = plan_of(of("b"))
    store_dag(dag_of(retries), session=session, bundle_version="v2")
    assert clear(plan).cleared == 3
    assert {live(session)[run, "b", -1].dag_version_id for run in RUNS} == {first}


def test_some_runs_follow_and_others_stay(history, session):
    history(a_b, runs=("run_1", "run_2"), bundle_version="v1")
    first = latest_version_id("etl", session)
    session.execute(update(DagRun).where(DagRun.run_id == "run_2").values(bundle_version=None))
    session.commit()
    plan = plan_of(of("b"))
    assert len(plan.dag_versions) == 1
    store_dag(dag_of(a_b, doc_md="second"), session=session, bundle_version="v1")
    assert step(plan).status == "applied"
    second = latest_version_id("etl", session)
    uses = select(plan_run.c.run_id, plan_run.c.uses_dag_version_id)
    session.rollback()
    assert dict(session.execute(uses).all()) == {"run_1": first, "run_2": second}
    assert {item["id"] for item in reread(plan, session).dag_versions} == {str(first), str(second)}


def test_to_follow_a_version_takes_as_many_statements_for_many_runs(history, session):
    runs = [f"run_{number}" for number in range(1, 21)]
    history(a_b, runs=runs)
    counts = []
    for number, chosen in enumerate((runs[:2], runs)):
        plan = plan_of(of("b", run_id=tuple(chosen), run_on_latest_version=True))
        parse(session, doc_md=f"parse {number}")
        with statements(session) as sent:
            assert drift.find_drift(plan, session) == ([], 0)
        counts.append(len(sent))
        session.rollback()
    assert counts[1] <= counts[0]


def every_kind_of_run(session, bundle):
    """Store runs of two versions, finished and not, with and without a version, one task of each kind."""

    def old():
        task("old")
        a_b()

    def new():
        task("c", task("b", task("a")))
        mapped("m", 2)

    versions_of_bundle = (None, None) if bundle is None else ("v1", "v2")
    runs = {}
    for build, version, prefix in zip((old, new), versions_of_bundle, ("old", "new"), strict=True):
        store_dag(dag_of(build), session=session, bundle_version=version)
        for state in ("success", "running"):
            for has_version in (True, False):
                name = f"{prefix}_{state}_{'' if has_version else 'un'}versioned"
                runs[name] = make_run(
                    dag_of(build),
                    session=session,
                    run_id=name,
                    state=state,
                    task_state="success",
                    bundle_version=version,
                    without_version=not has_version,
                )
    for name, run in runs.items():
        if "running" in name:
            set_states(run, {"a": "running", "b": None}, session=session)
    return new


def promised(plan, session):
    """Return what a plan says of its rows and its runs, whatever the order of its versions."""
    session.rollback()

    def said(table, *key):
        rows = session.execute(select(table).where(table.c.plan_id == UUID(plan.id))).mappings()
        return {
            tuple(row[name] for name in key): {
                name: row[name] for name in row if name not in ("plan_id", "shape")
            }
            for row in rows
        }

    found = said(plan_task_instance, "run_id", "task_id", "map_index"), said(plan_run, "run_id")
    items = sorted((dict(item) for item in reread(plan, session).dag_versions), key=lambda item: item["id"])
    return (*found, items)


@pytest.mark.parametrize("bundle", [None, "v"], ids=["no bundle version", "bundle versions"])
@pytest.mark.parametrize("resets", [True, False], ids=["reset", "not reset"])
@pytest.mark.parametrize("latest", [True, None], ids=["on the latest version", "as they are"])
def test_a_plan_that_followed_says_what_a_plan_made_since_says(session, latest, resets, bundle):
    build = every_kind_of_run(session, bundle)
    selection = of("a", "b", "m", run_on_latest_version=latest, reset_dag_runs=resets)
    plan = plan_of(selection)
    at_first = latest_version_id("etl", session)
    store_dag(dag_of(build, doc_md="third"), session=session, bundle_version=bundle and "v2")
    assert latest_version_id("etl", session) != at_first
    session.rollback()
    with new_session() as own:
        assert drift.find_drift(plan, own) == ([], 0)
    later = plan_of(selection)
    assert promised(plan, session) == promised(later, session)
    assert clear(later).status == "applied"


@pytest.mark.parametrize(
    ("minutes", "parses", "expected"),
    [(1, 4, 5), (60, 4, None), (1, 2, None)],
    ids=["at each parse", "each hour", "a few"],
)
def test_a_version_at_each_parse_is_told_from_a_deployed_one(session, minutes, parses, expected):
    parse_and_run(session, parses, apart=timedelta(minutes=minutes))
    assert versions(session) == parses + 1
    assert version_history.gets_version_at_each_parse("etl", session) == (expected and parses + 1)


def test_runs_an_hour_apart_hide_no_version_at_each_parse(history, session):
    """Between two runs the latest version is rewritten, at each parse again."""
    history(a_b)
    begin = datetime.now(timezone.utc)
    for hour in range(4):
        for parse_number in (0, 59):
            with time_machine.travel(begin + timedelta(hours=hour, minutes=parse_number), tick=False):
                parse(session, doc_md=f"hour {hour}, parse {parse_number}")
        if hour < 3:
            make_run(dag_of(a_b), session=session, run_id=f"hour_{hour}", task_state="success")
    assert versions(session) == 5
    assert version_history.gets_version_at_each_parse("etl", session) == 5


def test_a_deployment_long_ago_is_no_version_at_each_parse(session):
    parse_and_run(session, 4, apart=timedelta(minutes=1))
    with time_machine.travel(datetime.now(timezone.utc) + timedelta(hours=1), tick=False):
        parse(session, doc_md="parse 3")  # The same once more.
    assert versions(session) == 5
    assert version_history.gets_version_at_each_parse("etl", session) is None


def test_a_dag_that_gets_a_version_at_each_parse_is_named_in_plan_and_refusal(session):
    parse_and_run(session, 4, apart=timedelta(minutes=1))
    plan = plan_of(of("b", run_on_latest_version=True))
    [found] = [one for one in plan.findings if one.code == "version_at_each_parse"]
    assert found.title == "etl gets a new Dag version at each parse: it has 5"
    parse(session, retries)
    with pytest.raises(Refused) as refused:
        step(plan)
    assert "etl gets a new Dag version at each parse" in refused.value.problem.remedy
    assert "etl gets a new Dag version at each parse" in reread(plan, session).stop_reason.remedy
    with pytest.raises(Refused) as again:
        step(reread(plan, session))
    assert again.value.problem == refused.value.problem


def test_to_follow_a_version_beside_many_others_takes_no_more_statements(session):
    run_ids = store_versions(alike, 60, session)
    unpinned = DagRun.run_id.in_((run_ids[0], run_ids[1]))
    session.execute(update(DagRun).where(unpinned).values(bundle_version=None))
    # They are written a second apart, from now on: Airflow would not yet write the next one.
    long_ago = datetime.now(timezone.utc) - timedelta(days=1)
    session.execute(update(SerializedDagModel).values(created_at=long_ago, last_updated=long_ago))
    for version in session.scalars(select(DagVersion)):
        version.created_at -= timedelta(days=1)
    session.commit()
    counts = []
    for number, chosen in enumerate((run_ids[:5], run_ids)):
        plan = plan_of(Selection("chains", run_id=tuple(chosen), task_regex="^step_0$"))
        store_dag(alike(100 + number), session=session, bundle_version="later")
        session.rollback()
        assert versions(session) == 61 + number
        with statements(session) as sent, new_session() as own:
            assert drift.find_drift(plan, own) == ([], 0)
        counts.append(len(sent))
        numbers = {item["number"] for item in reread(plan, session).dag_versions}
        assert numbers == {*range(3, len(chosen) + 1), 61 + number}
        make_run("chains", session=session, run_id=f"of_parse_{number}")
        session.execute(update(SerializedDagModel).values(last_updated=long_ago))
        session.commit()
    assert counts[1] <= counts[0]
