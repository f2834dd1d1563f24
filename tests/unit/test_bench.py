"""What the benchmark takes for the same work, counts and compares."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, insert, select, update

from bench.copying import NULL, Model
from bench.meter import Measured, Statements
from bench.options import parse
from bench.report import cells, in_order, lines, table_rows
from bench.running import Job, hopeless, jobs, summary
from bench.scopes import TASKS, Scope, history_for, mapped_scope, scope_of, warm_scope

NUMBERS = Table("numbers", MetaData(), Column("n", Integer, primary_key=True), Column("m", Integer))


@pytest.fixture
def engine():
    engine = create_engine("sqlite://")
    NUMBERS.metadata.create_all(engine)
    yield engine
    engine.dispose()


def test_a_history_is_a_large_deployments_once_a_size_is_large():
    large = history_for([1_000, 10_000, 100_000], mapped=10_000)
    assert (large.dag_runs, large.task_instances) == (20_001, 1_010_000)
    small = history_for([1_000], mapped=1_000)
    assert (small.dag_runs, small.task_instances) == (2_001, 101_000)


def test_a_scope_is_the_last_runs_that_hold_it():
    history = history_for([1_000], mapped=1_000)
    first, last = scope_of(1_000, history).dates()
    assert (last - first).total_seconds() / 3600 + 1 == 1_000 / TASKS
    assert scope_of(10_000, history).dates()[0] < first
    assert scope_of(10_000, history).dates()[1] == last


@pytest.mark.parametrize("size", [0, 49, 10_050])
def test_a_size_that_no_whole_runs_hold_is_refused(size):
    with pytest.raises(ValueError, match="multiples of 50, at most 10,000"):
        scope_of(size, history_for([1_000], mapped=1_000))


def test_the_warm_up_is_of_another_dag():
    history = history_for([1_000], mapped=1_000)
    assert warm_scope().dag_id not in (scope_of(1_000, history).dag_id, mapped_scope(history).dag_id)


def test_what_is_not_given_has_its_default_and_what_is_unknown_is_refused(capsys):
    options = parse(["--sizes", "10000,1000", "--ops", "apply", "--runs", ""])
    assert (options.sizes, options.ops, options.mapped) == ([1_000, 10_000], ("apply",), 10_000)
    assert (options.runs_of(1_000), options.runs_of(10_000)) == (3, 1)
    with pytest.raises(SystemExit):
        parse(["--ops", "clear"])
    assert "clear: expected of preview" in capsys.readouterr().err


def test_a_row_is_written_again_with_other_values():
    model = Model("run", {"id": "1", "state": "success", "note": r"a\tb"})
    assert model.line({"state": "failed"}) == "1\tfailed\ta\\tb\n"
    assert model.moved_to("old_run", ["state", "why"]).line({}) == f"success\t{NULL}\n"


def test_statements_and_round_trips_are_counted(engine):
    found = Measured()
    with Statements(found, delay=0), engine.begin() as connection:
        connection.execute(insert(NUMBERS), [{"n": n} for n in range(7)])
        connection.execute(select(NUMBERS))
    assert (found.statements, found.round_trips, found.commits) == (2, 8, 1)
    with engine.begin() as connection:
        connection.execute(update(NUMBERS).values(m=1))
    assert found.statements == 2


def test_each_round_trip_waits_and_the_longest_transaction_counts(engine):
    found, start = Measured(), time.perf_counter()
    with Statements(found, delay=0.02):
        for statements in (1, 4, 2):
            with engine.connect() as connection:
                for _ in range(statements):
                    connection.execute(select(NUMBERS))
    # Four statements and the rollback; the other two transactions take 0.04 s and 0.06 s at least.
    assert 0.1 <= found.longest_txn_seconds <= time.perf_counter() - start - 0.1
    assert (found.statements, found.commits) == (7, 0)


def row(who, seconds, size=1_000, driver="psycopg"):
    return {
        "op": "apply",
        "who": who,
        "driver": driver,
        "size": size,
        "seconds": seconds,
        "cpu_seconds": seconds and seconds / 2,
        "server_cpu_seconds": 0.02,
        "peak_mb": 12.4,
        "statements": 1_234,
        "longest_txn_seconds": 0.5,
        "bytes": 0,
    }


def test_a_median_is_of_each_column():
    job = Job("apply", "ours", Scope("dag", 1_000))
    found = [{"seconds": 3.0, "bytes": 1}, {"seconds": 1.0, "bytes": 9}, {"seconds": 2.0, "bytes": 5}]
    of_all = summary(job, found)
    assert (of_all["seconds"], of_all["bytes"], of_all["runs"]) == (2.0, 5, 3)
    assert of_all["all_seconds"] == [3.0, 1.0, 2.0]


def test_airflows_way_is_not_tried_where_it_would_take_too_long():
    earlier = [row("airflow_rest", 70.0), row("ours", 70.0)]
    large = Scope("dag", 10_000)
    assert hopeless(Job("apply", "airflow_rest", large), earlier, cap=600) is not None
    assert hopeless(Job("apply", "airflow_rest", large), earlier, cap=800) is None
    assert hopeless(Job("preview", "airflow_rest", large), earlier, cap=600) is None
    assert hopeless(Job("apply", "ours", large), earlier, cap=600) is None


def test_what_was_given_up_stays_given_up_at_larger_sizes():
    earlier = [row("airflow_rest", None, size=10_000)]
    assert hopeless(Job("apply", "airflow_rest", Scope("dag", 100_000)), earlier, cap=600) is not None


def test_every_way_of_an_operation_stands_next_to_the_others():
    options = parse(["--ops", "apply,drift"])
    assert [job.who for job in jobs(("preview", "apply"), Scope("dag", 1_000), options)] == 2 * [
        "ours",
        "ours_http",
        "airflow_rest",
        "airflow_one_call",
        "limit",
    ]


def test_each_driver_is_measured_by_itself_and_psycopg_3_first():
    scope = Scope("dag", 1_000)
    wanted = list(jobs(("undo", "drift"), scope, parse([])))
    assert [(job.op, job.driver) for job in wanted] == [
        ("undo", "psycopg"),
        ("undo", "psycopg"),
        ("undo", "psycopg2"),
        ("undo", "psycopg2"),
        ("drift", "psycopg"),
    ]
    assert summary(wanted[2], [{"seconds": 1.0}])["driver"] == "psycopg2"
    chosen = parse(["--drivers", "psycopg2"])
    assert {job.driver for job in jobs(("undo", "drift"), scope, chosen)} == {"psycopg2"}


def test_each_row_names_its_driver_and_is_compared_with_ours_of_that_driver():
    rows = [
        row("limit", 1.0, driver="psycopg2"),
        row("ours", 4.0, driver="psycopg2"),
        row("limit", 1.0),
        row("ours", 2.0),
    ]
    assert [found[:4] for found in table_rows(in_order(rows))] == [
        ["Safe Clear", "psycopg", "2.00 s", "1.00"],
        ["limit: set-based SQL", "psycopg", "1.00 s", "0.50"],
        ["Safe Clear", "psycopg2", "4.00 s", "1.00"],
        ["limit: set-based SQL", "psycopg2", "1.00 s", "0.25"],
    ]


def test_a_pace_is_of_the_same_driver():
    earlier = [row("airflow_rest", 70.0, driver="psycopg2")]
    large = Scope("dag", 10_000)
    assert hopeless(Job("apply", "airflow_rest", large, "psycopg2"), earlier, cap=600) is not None
    assert hopeless(Job("apply", "airflow_rest", large, "psycopg"), earlier, cap=600) is None


def test_ratios_are_to_ours():
    ours = row("ours", 2.0)
    assert cells(row("airflow_rest", 41.0), ours)[:4] == ["41.0 s", "20", "20.5 s", "20"]
    assert cells(row("limit", 0.05), ours)[:2] == ["50.0 ms", "0.03"]
    assert cells({"seconds": None, "note": "over 600 s"}, ours) == ["over 600 s"]


def test_a_part_is_a_table_of_markdown_with_aligned_columns():
    result = {
        "machine": {"cpus": 2, "cpu": "EPYC", "memory_gb": 25},
        "versions": {"apache-airflow": "3.3.2", "postgresql": "15.1 (Debian)", "python": "3.11"},
        "history": {"task_instances": 1_010_000, "dag_runs": 20_001},
        "other_dags": [
            {"who": "ours", "runs": 20, "started": 9, "median": 0.25, "longest": 61.0},
            {"who": "nothing", "runs": 20, "started": 20, "median": 0.5, "longest": 1.5},
        ],
    }
    assert list(lines(result)) == [
        "2 × EPYC, 25 GB; Airflow 3.3.2, PostgreSQL 15.1, Python 3.11; "
        "1,010,000 task instances in 20,001 dag runs.",
        "",
        "| Start of another DAG | runs | started | median wait | longest wait |",
        "| -------------------- | ---: | ------: | ----------: | -----------: |",
        "| Safe Clear           |   20 |       9 |      250 ms |       61.0 s |",
        "| nothing is cleared   |   20 |      20 |      500 ms |       1.50 s |",
    ]
