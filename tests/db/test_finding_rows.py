"""The rows behind a finding: as many as it counts, page by page."""

from __future__ import annotations

from functools import partial

import pytest
from airflow.api.common.delete_dag import delete_dag
from airflow.models.dagrun import DagRun
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Asset, AssetAlias
from sqlalchemy import update

from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.services import finding_rows
from tests.db.acting import days, plan_of
from tests.db.change_set_acting import fake_auth_manager
from tests.db.changed_dags import RUNS, a_b, dag_of, of, store_history, task
from tests.db.finding_scenes import findings_by_code, store
from tests.support.factories import make_run, nobody, set_states, store_dag

pytestmark = [pytest.mark.backend, pytest.mark.airflow32]


def listed(plan, code, session):
    """Return all rows behind a finding, read two at a time, which must be as many as it counts."""
    finding = finding_rows.finding_with_rows(plan, code)
    rows = []
    while True:
        page = finding_rows.read_rows(plan, code, None, session, offset=len(rows), limit=2)
        assert page.total == finding.count
        rows += page.rows
        if len(page.rows) < 2:
            break
    assert len(rows) == finding.count
    session.rollback()
    return rows


# DAG versions


def old():
    """Make ``a >> b``, and a task that the next version has not."""
    a_b()
    task("old")


def new():
    """Make ``a >> b``, and a task that the version before has not."""
    a_b()
    task("new")


def changes(rows):
    return [(row.run_id, row.task_id, row.state, row.effect, row.foreseen_state) for row in rows]


def test_lists_task_instances_that_change_with_the_latest_version(session):
    store_history(session, old, new)
    plan = plan_of(of("b", run_on_latest_version=True))
    expected = [
        row
        for run_id in RUNS
        for row in (
            (run_id, "new", None, "create", None),
            (run_id, "old", "success", "remove", "removed"),
        )
    ]
    assert changes(listed(plan, "moves_to_latest", session)) == expected


@pytest.mark.parametrize("on_latest", [True, None])
def test_a_version_with_other_words_changes_no_rows(session, on_latest):
    store_history(session, a_b, a_b, doc_md="other words")
    plan = plan_of(of("b", run_on_latest_version=on_latest))
    assert not {"moves_to_latest", "scheduler_changes"} & set(findings_by_code(plan))


def test_lists_task_instances_that_the_scheduler_changes(session):
    for run in store_history(session, old, new):
        set_states(run, {"old": "failed"}, session=session)
    plan = plan_of(of("b"))
    expected = [
        row
        for run_id in RUNS
        for row in (
            (run_id, "new", None, "scheduler_creates", None),
            (run_id, "old", "failed", "scheduler_removes", "removed"),
        )
    ]
    assert changes(listed(plan, "scheduler_changes", session)) == expected


def test_lists_no_changes_of_runs_that_keep_their_version(session):
    """A bundle version is kept, and so are the tasks of its run."""
    store_history(session, old, new, runs=RUNS[:2])
    session.execute(update(DagRun).where(DagRun.run_id == "run_1").values(bundle_version="1"))
    session.commit()
    rows = listed(plan_of(of("b")), "scheduler_changes", session)
    assert {row.run_id for row in rows} == {"run_2"}


# Callbacks


def with_callbacks():
    """Make tasks with callbacks, and one without."""
    task("work", on_failure_callback=nobody, on_retry_callback=nobody)
    EmptyOperator.partial(task_id="many", on_success_callback=nobody).expand(doc_md=["1", "2"])
    task("quiet")


def details(rows):
    return [(row.run_id, row.task_id, row.map_index, row.details) for row in rows]


def test_lists_dag_runs_and_task_instances_with_callbacks(session):
    store(session, "etl", with_callbacks, runs=2, on_success_callback=nobody)
    rows = listed(plan_of(days(1, 2)), "callbacks", session)
    assert details(rows) == [
        row
        for run_id in ("run_1", "run_2")
        for row in (
            (run_id, "", -1, ("on_success_callback",)),
            (run_id, "many", 0, ("on_success_callback",)),
            (run_id, "many", 1, ("on_success_callback",)),
            (run_id, "work", -1, ("on_failure_callback", "on_retry_callback")),
        )
    ]
    assert [(row.state, row.foreseen_state) for row in rows if row.is_run] == [("success", "queued")] * 2


def test_rows_of_a_dag_version_that_is_gone_leave_the_list(session):
    store(session, "etl", with_callbacks, runs=2, on_success_callback=nobody)
    plan = plan_of(days(1, 2))
    delete_dag("etl", session=session)
    session.commit()
    page = finding_rows.read_rows(plan, "callbacks", None, session, offset=0, limit=10)
    assert (page.total, page.rows) == (0, [])


def test_lists_only_dag_runs_if_no_task_has_callbacks(session):
    store(session, "etl", lambda: task("quiet"), runs=2, on_failure_callback=nobody)
    assert [row.is_run for row in listed(plan_of(days(1, 2)), "callbacks", session)] == [True, True]


def test_lists_no_callbacks_of_other_versions(session):
    store_history(session, lambda: task("work"), runs=("run_1",), bundle_version="1")
    dag = dag_of(lambda: task("work", on_failure_callback=nobody), on_failure_callback=nobody)
    store_dag(dag, session=session, bundle_version="2")
    make_run(dag, session=session, run_id="run_2", task_state="success", bundle_version="2")
    rows = listed(plan_of(Selection("etl", run_id=("run_1", "run_2"))), "callbacks", session)
    assert [row[:2] for row in details(rows)] == [("run_2", ""), ("run_2", "work")]
    assert "callbacks" not in findings_by_code(plan_of(Selection("etl", run_id=("run_1",))))


def test_each_version_has_its_own_tasks_with_callbacks(session):
    for number, called in ((1, "a"), (2, "b"), (3, "a")):
        dag = dag_of(partial(one_called, called))
        store_dag(dag, session=session, bundle_version=str(number))
        run = {"run_id": f"run_{number}", "bundle_version": str(number), "task_state": "success"}
        make_run(dag, session=session, **run)
    rows = listed(plan_of(of("a", "b")), "callbacks", session)
    assert [row[:2] for row in details(rows)] == [("run_1", "a"), ("run_2", "b"), ("run_3", "a")]


def one_called(called):
    for task_id in ("a", "b"):
        task(task_id, **({"on_failure_callback": nobody} if task_id == called else {}))


def test_lists_no_callbacks_of_task_instances_that_never_start(session):
    def build():
        task("never", pool="nowhere", on_failure_callback=nobody)
        task("work", on_failure_callback=nobody)

    store(session, "etl", build, runs=1)
    rows = listed(plan_of(days(1, 1)), "callbacks", session)
    assert [row.task_id for row in rows] == ["work"]
    assert "callbacks" not in findings_by_code(plan_of(days(1, 1, task_regex="^never$")))


# Limits of tasks


def limited(limit=None, per_run=None):
    """Return a maker of a mapped task with these limits and of one without."""
    options = {"max_active_tis_per_dag": limit, "max_active_tis_per_dagrun": per_run}

    def build():
        EmptyOperator.partial(task_id="many", **options).expand(doc_md=["1", "2", "3"])
        task("free")

    return build


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"limit": 5}, ("max_active_tis_per_dag = 5",)),
        ({"per_run": 2}, ("max_active_tis_per_dagrun = 2",)),
        ({"limit": 1, "per_run": 1}, ("max_active_tis_per_dag = 1", "max_active_tis_per_dagrun = 1")),
        ({"limit": 6, "per_run": 3}, None),
    ],
)
def test_lists_task_instances_that_a_task_limit_holds_back(session, limits, said):
    store(session, "etl", limited(**limits), runs=2)
    plan = plan_of(days(1, 2))
    if said is None:
        assert "task_limits" not in findings_by_code(plan)
        return
    assert findings_by_code(plan)["task_limits"].title.startswith("1 task can run only a few")
    assert details(listed(plan, "task_limits", session)) == [
        (run_id, "many", index, said) for run_id in ("run_1", "run_2") for index in range(3)
    ]


def versions_with_limits(session, *limits):
    """Store a version with each limit of ``work``, and a run of each."""
    for number, limit in enumerate(limits, 1):
        build = partial(task, "work", max_active_tis_per_dag=limit)
        dag = dag_of(build)
        store_dag(dag, session=session, bundle_version=str(number))
        run = {"run_id": f"run_{number}", "bundle_version": str(number), "task_state": "success"}
        make_run(dag, session=session, **run)


def test_a_limit_counts_the_task_instances_of_all_versions(session):
    versions_with_limits(session, None, 1, None)
    found = plan_of(of("work"))
    assert "and the plan has 3 task instances in all runs." in findings_by_code(found)["task_limits"].detail
    [row] = listed(found, "task_limits", session)
    assert (row.run_id, row.details) == ("run_2", ("max_active_tis_per_dag = 1",))
    alone = plan_of(Selection("etl", run_id=("run_2",)))
    assert "task_limits" not in findings_by_code(alone)


def test_finding_names_the_lowest_limit_of_all_versions(session):
    versions_with_limits(session, 2, 1, 3)
    plan = plan_of(of("work"))
    found = findings_by_code(plan)["task_limits"]
    assert found.detail == (
        "`work`: `max_active_tis_per_dag` is 1, and the plan has 3 task instances in all runs."
    )
    rows = listed(plan, "task_limits", session)
    assert [row[0] for row in details(rows)] == ["run_1", "run_2"]


# Assets


def test_lists_task_instances_that_update_assets(session):
    def build():
        task("both", outlets=[Asset("sales"), AssetAlias("today")])
        EmptyOperator.partial(task_id="many", outlets=[Asset("other")]).expand(doc_md=["1", "2"])
        task("reads", inlets=[Asset("sales")])

    store(session, "etl", build, runs=2)
    rows = details(listed(plan_of(days(1, 2)), "assets", session))
    assert rows == [
        row
        for run_id in ("run_1", "run_2")
        for row in (
            (run_id, "both", -1, ("sales", "today")),
            (run_id, "many", 0, ("other",)),
            (run_id, "many", 1, ("other",)),
        )
    ]


def test_lists_no_outlets_of_other_versions_or_of_tasks_that_never_start(session):
    def build():
        task("work", outlets=[Asset("sales")])
        task("never", pool="nowhere", outlets=[Asset("other")])

    store_history(session, lambda: task("work"), runs=("run_1",), bundle_version="1")
    dag = dag_of(build)
    store_dag(dag, session=session, bundle_version="2")
    make_run(dag, session=session, run_id="run_2", task_state="success", bundle_version="2")
    plan = plan_of(Selection("etl", run_id=("run_1", "run_2")))
    assert findings_by_code(plan)["assets"].title == "1 task instance will update 1 asset again"
    assert details(listed(plan, "assets", session)) == [("run_2", "work", -1, ("sales",))]
    assert "assets" not in findings_by_code(plan_of(Selection("etl", run_id=("run_1",))))
    alone = Selection("etl", run_id=("run_2",), task_regex="^never$")
    assert "assets" not in findings_by_code(plan_of(alone))


# Triggers


def triggers(task_id, dag_id):
    return TriggerDagRunOperator(task_id=task_id, trigger_dag_id=dag_id)


@pytest.fixture
def rights(monkeypatch):
    return fake_auth_manager(monkeypatch)


def test_lists_task_instances_that_trigger_dags(session, rights):
    def build():
        triggers("known", "child")
        triggers("itself", "etl")
        triggers("secret", "hidden")
        triggers("templated", "{{ var.value.dag }}")
        task("quiet")

    for dag_id in ("child", "hidden"):
        store(session, dag_id, lambda: task("work"))
    store(session, "etl", build, runs=2)
    plan = plan_of(days(1, 2))
    rows = listed(plan, "triggers", session)
    assert [row.task_id for row in rows] == 2 * ["itself", "known", "secret", "templated"]
    assert [row.details for row in rows[:4]] == [("etl",), ("child",), ("hidden",), ()]
    rights.unreadable = {"hidden"}
    rows = listed(plan, "triggers", session)
    assert [(row.details, row.is_hidden) for row in rows[:4]] == [
        (("etl",), False),
        (("child",), False),
        ((), True),
        ((), False),
    ]


def test_lists_no_triggers_of_other_versions(session, rights):
    store(session, "child", lambda: task("work"))
    store_history(session, lambda: task("work"), runs=("run_1",), bundle_version="1")
    dag = dag_of(lambda: triggers("work", "child"))
    store_dag(dag, session=session, bundle_version="2")
    make_run(dag, session=session, run_id="run_2", task_state="success", bundle_version="2")
    rows = listed(plan_of(Selection("etl", run_id=("run_1", "run_2"))), "triggers", session)
    assert details(rows) == [("run_2", "work", -1, ("child",))]
    assert "triggers" not in findings_by_code(plan_of(Selection("etl", run_id=("run_1",))))
