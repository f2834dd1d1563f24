"""Making a change set: the DAGs that it takes and leaves out, and the reasons that refuse it whole."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.models.dag import DagModel, DagTag
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.sdk import DAG
from sqlalchemy import select, update

from safe_clear_plugin.core.change_set import fingerprint_of
from safe_clear_plugin.core.problems import Invalid, Refused
from safe_clear_plugin.services.change_sets import dag_choice, make
from safe_clear_plugin.services.change_sets.again import preview_again
from safe_clear_plugin.storage.tables import change_set, metadata, plan, plan_run
from tests.db.acting import ME, now
from tests.db.change_set_acting import DAGS, days, fake_auth_manager, set_of, store_dags
from tests.support.factories import make_run, store_dag
from tests.support.scenes import START, store_etl

pytestmark = pytest.mark.backend
FAILED_AT = START + timedelta(minutes=2)


@pytest.fixture(autouse=True)
def rights(monkeypatch):
    return fake_auth_manager(monkeypatch)


@pytest.fixture(autouse=True)
def dags(session):
    store_dags(session)
    tag(session, dag_a="night", dag_b="night", dag_c="day")
    own(session, dag_a="Ann, Bob", dag_b="Cy", dag_c="Bob")


def tag(session, **tags: str) -> None:
    for dag_id, name in tags.items():
        session.add(DagTag(dag_id=dag_id, name=name))
    session.commit()


def own(session, **owners: str) -> None:
    for dag_id, names in owners.items():
        session.execute(update(DagModel).where(DagModel.dag_id == dag_id).values(owners=names))
    session.commit()


def succeed(session, dag_id: str) -> None:
    """Leave no failed task instance in the DAG."""
    ti = TaskInstance
    session.execute(update(ti).where(ti.dag_id == dag_id).values(state="success"))
    session.commit()


def window(**more):
    """Select the failures on the first of January."""
    return days(1, 1, failed_from=START, failed_to=START + timedelta(hours=23), **more)


def left(session) -> int:
    """Return the number of rows of plans and sets."""
    session.rollback()
    return sum(len(session.execute(select(one)).all()) for one in (change_set, plan, plan_run))


def refused(*args, **kwargs) -> Refused:
    with pytest.raises(Refused) as found:
        set_of(*args, **kwargs)
    return found.value


def invalid(*args, **kwargs) -> list[tuple[str | None, str]]:
    with pytest.raises(Invalid) as found:
        set_of(*args, **kwargs)
    return [(one.field, one.reason) for one in found.value.problems]


@pytest.mark.airflow32
@pytest.mark.parametrize(
    ("choice", "chosen_by", "expected"),
    [
        ({"dag_id_regex": "_[ab]$"}, "dag_id_regex", ["dag_a", "dag_b"]),
        ({"tags": ("night", "x")}, "tags", ["dag_a", "dag_b"]),
        ({"owners": ("Bob",)}, "owners", ["dag_a", "dag_c"]),
    ],
)
def test_a_filter_takes_the_dags_that_it_meets(choice, chosen_by, expected):
    made = set_of(**choice)
    assert (list(made.dag_ids), made.made_from["chosen_by"]) == (expected, chosen_by)
    assert made.left_out == ()
    assert [one.position for one in made.plans] == [0, 1]
    assert {one.change_set_id for one in made.plans} == {made.id}


def test_names_take_these_dags_once():
    assert set_of("dag_c", "dag_a", "dag_c").dag_ids == ("dag_a", "dag_c")


@pytest.mark.airflow32
def test_a_window_takes_what_failed_in_it_and_filters_narrow_it(session):
    succeed(session, "dag_b")
    made = set_of(what=window())
    assert made.dag_ids == ("dag_a", "dag_c")
    assert made.made_from["chosen_by"] == "failed"
    # transform and load of the first run.
    assert [one.task_instances for one in made.plans] == [2, 2]
    assert set_of(what=window(), tags=("day",)).dag_ids == ("dag_c",)
    assert set_of(what=window(), tags=("day", "night"), owners=("Ann",)).dag_ids == ("dag_a",)
    assert set_of(what=window(), dag_id_regex="a$").dag_ids == ("dag_a",)
    assert set_of("dag_a", what=window()).dag_ids == ("dag_a",)


def test_a_filter_meets_only_dags_in_use_a_window_others_too(session):
    session.execute(update(DagModel).where(DagModel.dag_id == "dag_b").values(is_stale=True))
    session.commit()
    assert set_of(dag_id_regex="dag_").dag_ids == ("dag_a", "dag_c")
    assert set_of(what=window()).dag_ids == DAGS


def test_where_nothing_matches_a_met_dag_is_left_out_and_named(session):
    succeed(session, "dag_b")
    made = set_of(dag_id_regex="^dag_", what=days(1, 31, state=("failed",)))
    assert made.dag_ids == ("dag_a", "dag_c")
    (out,) = made.left_out
    assert out.dag_id == "dag_b"
    assert "no Failed task instance" in out.reason
    store_etl(session, "dag_x", runs=0)
    made = set_of(dag_id_regex="^dag_", what=days(1, 31))
    assert [one.dag_id for one in made.left_out] == ["dag_x"]
    made = set_of(dag_id_regex="^dag_", what=days(1, 31, run_id=("run_2",)))
    assert [one.dag_id for one in made.left_out] == ["dag_x"]
    with DAG("dag_y", schedule=None, start_date=START) as other:
        EmptyOperator(task_id="alone")
    store_dag(other, session=session)
    make_run(other, session=session, logical_date=START, run_id="run_1")
    made = set_of(dag_id_regex="^dag_[ay]", what=days(1, 31, task_regex="^load$"))
    assert [one.dag_id for one in made.left_out] == ["dag_y"]


def test_where_nothing_matches_a_named_dag_refuses_the_set(session):
    before = left(session)
    succeed(session, "dag_b")
    error = refused(*DAGS, what=days(1, 31, state=("failed",)))
    assert error.status == 422
    assert error.problem.reason.startswith("dag_b: ")
    assert [one["dag_id"] for one in error.details["dags"]] == ["dag_b"]
    assert left(session) == before == 0


def test_where_nothing_matches_anywhere_there_is_no_set(session):
    error = refused(dag_id_regex="dag_", what=days(1, 31, state=("skipped",)))
    assert error.status == 422
    assert [one["dag_id"] for one in error.details["left_out"]] == list(DAGS)
    assert left(session) == 0


def test_a_dag_that_cannot_be_planned_refuses_also_where_a_filter_met_it(session):
    error = refused(dag_id_regex="dag_", what=days(1, 31, exclude_task_id=("nope",)))
    assert error.status == 422
    assert [one["dag_id"] for one in error.details["dags"]] == list(DAGS)
    error = refused(dag_id_regex="dag_", what=days(1, 31, run_id=("run_1", "run_9")))
    assert [one["dag_id"] for one in error.details["dags"]] == list(DAGS)
    assert left(session) == 0


def test_a_dag_that_may_not_be_cleared_refuses_the_set_and_one_that_may_not_be_read_is_not_met(
    session, rights
):
    rights.not_to_clear = {"dag_b"}
    for choice in ({"dag_id_regex": "dag_"}, {"tags": ("night",)}, {"what": window()}):
        error = refused(**choice)
        assert (error.status, [one["dag_id"] for one in error.details["dags"]]) == (403, ["dag_b"])
    error = refused("dag_a", "dag_b")
    assert (error.status, error.problem.reason.startswith("You can see dag_b, but")) == (403, True)
    rights.not_to_clear, rights.unreadable = set(), {"dag_b", "dag_nope"}
    assert set_of(dag_id_regex="dag_").dag_ids == ("dag_a", "dag_c")
    assert left(session) > 0
    error = refused("dag_a", "dag_b", "dag_nope")
    assert error.status == 404
    assert [one["error"] for one in error.details["dags"]] == [
        "There is no Dag dag_b.",
        "There is no Dag dag_nope.",
    ]
    rights.unreadable = set(DAGS)
    assert invalid(dag_id_regex="dag_")[0][0] == "dag_id_regex"


def test_without_time_to_ask_for_all_rights_nothing_is_narrowed_in_silence(session, monkeypatch):
    real = dag_choice.permissions.readable_dags

    def some(dags, user, session):
        found = real(dags, user, session)
        return type(found)(found.dags[:1], complete=False)

    monkeypatch.setattr(dag_choice.permissions, "readable_dags", some)
    assert refused(dag_id_regex="dag_").status == 503
    assert left(session) == 0


@pytest.mark.parametrize(
    ("choice", "field"),
    [
        ({}, "dag_ids"),
        ({"tags": ("night",), "owners": ("Bob",)}, "owners"),
        ({"dag_id_regex": "a", "tags": ("night",)}, "tags"),
        ({"dag_id_regex": "(", "tags": ()}, "dag_id_regex"),
        ({"dag_id_regex": "nope"}, "dag_id_regex"),
        ({"tags": ("nope",)}, "tags"),
        ({"what": days(1, 1, failed_to=START)}, "failed_from"),
        ({"dag_id_regex": "a", "what": days(1, 1, task_regex="(")}, "task_regex"),
    ],
)
def test_a_choice_that_says_nothing_or_too_much_is_refused(session, choice, field):
    assert invalid(**choice)[0][0] == field
    assert left(session) == 0


def test_names_are_not_narrowed_by_another_filter():
    """If a named DAG can't be taken, the refusal says so."""
    assert invalid("dag_a", tags=("day",), what=window())[0][0] == "tags"


def test_too_many_dags_are_refused(session, monkeypatch):
    monkeypatch.setattr(dag_choice, "MAX_DAGS", 2)
    assert invalid(dag_id_regex="dag_") == [
        ("dag_id_regex", "These are 3 Dags. A change set can have 2 at most.")
    ]
    assert invalid(*DAGS)[0][0] == "dag_ids"
    assert left(session) == 0


def test_a_selection_that_names_no_runs_is_refused(session):
    from safe_clear_plugin.core.selection import Selection

    assert invalid(*DAGS, what=Selection(""))[0][0] == "date_from"
    assert left(session) == 0


def test_a_failure_in_the_last_plan_leaves_nothing(session, monkeypatch):
    real = make.write_plan

    def fails(resolved, *args, **kwargs):
        if resolved.selection.dag_id == "dag_c":
            raise RuntimeError("out of memory")
        return real(resolved, *args, **kwargs)

    monkeypatch.setattr(make, "write_plan", fails)
    with pytest.raises(RuntimeError):
        set_of(*DAGS)
    session.rollback()
    for table in metadata.sorted_tables:
        assert session.execute(select(table)).all() == [], table.name


def test_all_previews_share_one_time_limit(session, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__PREVIEW_TIMEOUT", "0.000001")
    assert refused(*DAGS).status == 503
    assert left(session) == 0


@pytest.mark.airflow32
def test_a_dag_comes_after_those_that_its_sensors_wait_for(session):
    for dag_id, awaited in (("dag_0", "dag_b"), ("dag_1", "dag_0")):
        with DAG(dag_id, schedule=None, start_date=START) as waiting:
            wait = ExternalTaskSensor(task_id="wait", external_dag_id=awaited, external_task_id="load")
            _ = wait >> EmptyOperator(task_id="after")
        store_dag(waiting, session=session)
        make_run(waiting, session=session, logical_date=START, run_id="run_1", state="failed")
    made = set_of("dag_0", "dag_1", *DAGS)
    assert made.dag_ids == ("dag_a", "dag_b", "dag_0", "dag_1", "dag_c")


def test_the_fingerprint_is_over_those_of_the_plans_in_order():
    made = set_of(*DAGS)
    assert made.fingerprint == fingerprint_of(one.fingerprint for one in made.plans)
    assert made.fingerprint != fingerprint_of(one.fingerprint for one in reversed(made.plans))
    assert set_of(*DAGS).fingerprint != made.fingerprint


def again(of, *without: str):
    return preview_again(of, without, ME, ME, now())


def test_a_dag_to_leave_out_that_is_misspelt_refuses_the_new_preview(session):
    made = set_of("dag_a", "dag_b")
    with pytest.raises(Refused, match="dag_x") as error:
        again(made, "dag_a", "dag_x")
    assert error.value.status == 422
    assert again(made, "dag_a").dag_ids == ("dag_b",)


def test_a_dag_that_the_filter_matches_since_can_be_left_out(session, rights):
    made = set_of(tags=("night",))
    tag(session, dag_c="night")
    assert again(made, "dag_c").dag_ids == ("dag_a", "dag_b")
    rights.unreadable = {"dag_c"}
    with pytest.raises(Refused, match="dag_c"):
        again(made, "dag_c")
