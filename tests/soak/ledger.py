"""What must hold at every moment, asked of the database by SQL of its own.

Each query lists what is wrong. The plans say what was to be cleared and what was restored; Airflow's tables
must agree with them in every snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, inspect, text
from sqlalchemy.orm import Session

ALWAYS: Mapping[str, str] = {
    # Each clear of a run counts, but for those that were taken back whole.
    "clear_number is not that of the plans": """
        SELECT r.run_id, r.clear_number, coalesce(p.n, 0) AS expected
        FROM dag_run r
        LEFT JOIN (
            SELECT dag_run_id, count(*) FILTER (WHERE NOT coalesce(put_back, false)) AS n
            FROM safe_clear_plan_run WHERE applied_at IS NOT NULL GROUP BY dag_run_id
        ) p ON p.dag_run_id = r.id
        WHERE r.clear_number <> coalesce(p.n, 0)
    """,
    "a run of which only some was cleared": """
        SELECT r.plan_id, r.run_id, count(*), count(t.new_task_instance_id)
        FROM safe_clear_plan_run r JOIN safe_clear_plan_task_instance t USING (plan_id, run_id)
        WHERE t.effect IN ('clear', 'terminate')
        GROUP BY r.plan_id, r.run_id, r.applied_at
        HAVING count(t.new_task_instance_id) <> CASE WHEN r.applied_at IS NULL THEN 0 ELSE count(*) END
    """,
    "cleared, and yet it has its old id": """
        SELECT r.plan_id, t.run_id, t.task_id, t.map_index
        FROM safe_clear_plan_run r JOIN safe_clear_plan_task_instance t USING (plan_id, run_id)
        JOIN task_instance live ON live.id = t.task_instance_id
        WHERE r.applied_at IS NOT NULL AND t.effect IN ('clear', 'terminate')
        AND coalesce(t.undo, '') <> 'put_back'
    """,
    "put back, and yet the id of the clear is in use": """
        SELECT t.plan_id, t.run_id, t.task_id, t.map_index
        FROM safe_clear_plan_task_instance t
        WHERE t.undo = 'put_back' AND (
            EXISTS (SELECT FROM task_instance live WHERE live.id = t.new_task_instance_id)
            OR EXISTS (
                SELECT FROM task_instance_history h WHERE h.task_instance_id = t.new_task_instance_id
            )
        )
    """,
    # One that was scheduled has its next number and may be cleared with it. Where that clear is taken back,
    # and then the one that gave it the id it had, the number goes back as well: to what this one is held to.
    "a try number that went back": """
        SELECT live.id, live.run_id, live.task_id, live.map_index
        FROM safe_clear_plan_task_instance t JOIN safe_clear_plan_run r USING (plan_id, run_id)
        JOIN task_instance live USING (run_id, task_id, map_index)
        WHERE r.applied_at IS NOT NULL AND t.effect IN ('clear', 'terminate')
        AND live.try_number < t.try_number AND NOT (coalesce(t.undo, '') = 'put_back' AND EXISTS (
            SELECT FROM safe_clear_plan_task_instance earlier
            WHERE earlier.undo = 'put_back' AND earlier.new_task_instance_id = t.task_instance_id
        ))
    """,
    "cleared without a before-image that is as planned": """
        SELECT t.plan_id, t.run_id, t.task_id, t.map_index
        FROM safe_clear_plan_run r JOIN safe_clear_plan_task_instance t USING (plan_id, run_id)
        LEFT JOIN safe_clear_before_task_instance b USING (plan_id, run_id, task_id, map_index)
        WHERE r.applied_at IS NOT NULL AND t.effect IN ('clear', 'terminate') AND (
            b.id IS DISTINCT FROM t.task_instance_id OR b.state IS DISTINCT FROM t.state
            OR b.try_number IS DISTINCT FROM t.try_number
        )
    """,
    "cleared, and its try is not in the history": """
        SELECT t.plan_id, t.run_id, t.task_id, t.map_index
        FROM safe_clear_plan_run r JOIN safe_clear_plan_task_instance t USING (plan_id, run_id)
        WHERE r.applied_at IS NOT NULL AND t.effect IN ('clear', 'terminate')
        AND coalesce(t.undo, '') <> 'put_back' AND NOT EXISTS (
            SELECT FROM task_instance_history h
            WHERE (h.run_id, h.task_id, h.map_index, h.try_number)
                = (t.run_id, t.task_id, t.map_index, t.try_number)
        )
    """,
    "two rows of history for one try": """
        SELECT dag_id, run_id, task_id, map_index, try_number, count(*)
        FROM task_instance_history GROUP BY 1, 2, 3, 4, 5 HAVING count(*) > 1
    """,
    "a plan that miscounts": """
        SELECT p.id, p.cleared_runs, p.undone_runs, p.undo_asked_runs
        FROM safe_clear_plan p JOIN (
            SELECT plan_id, count(applied_at) AS cleared, count(undone_at) AS undone,
                count(undo_asked_at) AS asked, sum(task_instances) FILTER (WHERE applied_at IS NOT NULL) AS n
            FROM safe_clear_plan_run GROUP BY plan_id
        ) r ON r.plan_id = p.id
        WHERE (p.cleared_runs, p.undone_runs, p.undo_asked_runs, p.cleared)
            <> (r.cleared, r.undone, r.asked, coalesce(r.n, 0))
    """,
    "audited otherwise than cleared": """
        SELECT p.id, p.cleared, l.n FROM safe_clear_plan p
        LEFT JOIN (
            SELECT extra::jsonb ->> 'plan_id' AS plan_id, count(*) AS n
            FROM log WHERE event = 'safe_clear' GROUP BY 1
        ) l ON l.plan_id = replace(p.id::text, '-', '')
        WHERE p.cleared <> coalesce(l.n, 0)
    """,
}

# Within the transaction of a batch, after the clear: every task instance of its runs against the plan.
OF_A_BATCH = """
    SELECT live.run_id, live.task_id, live.map_index, live.state, t.after_state, live.id
    FROM task_instance live
    JOIN safe_clear_plan p ON p.dag_id = live.dag_id
    LEFT JOIN safe_clear_plan_task_instance t
        ON t.plan_id = p.id AND (t.run_id, t.task_id, t.map_index)
            = (live.run_id, live.task_id, live.map_index) AND t.effect IN ('clear', 'terminate')
    WHERE p.id = :plan_id AND live.run_id = ANY(:run_ids) AND CASE
        WHEN t.plan_id IS NOT NULL THEN
            live.id = t.task_instance_id OR live.state IS DISTINCT FROM t.after_state
            OR live.try_number IS DISTINCT FROM t.try_number
            OR live.max_tries IS DISTINCT FROM t.after_max_tries
            OR live.start_date IS DISTINCT FROM (
                SELECT b.start_date FROM safe_clear_before_task_instance b
                WHERE b.plan_id = p.id AND b.id = t.task_instance_id
            )
        ELSE NOT (live.id::text = ANY(:ids_before))
    END
"""


def wrong(connection: Connection | Session) -> dict[str, list[Any]]:
    """Return what does not hold, by rule."""
    found = {rule: connection.execute(text(query)).all() for rule, query in ALWAYS.items()}
    return {rule: list(rows) for rule, rows in found.items() if rows}


def orphans(connection: Connection) -> dict[str, int]:
    """Count the rows whose foreign key leads nowhere, by constraint."""
    inspector = inspect(connection)
    found = {}
    for table in inspector.get_table_names():
        for key in inspector.get_foreign_keys(table):
            pairs = list(zip(key["constrained_columns"], key["referred_columns"], strict=True))
            on = " AND ".join(f'here."{one}" = there."{other}"' for one, other in pairs)
            given = " AND ".join(f'here."{one}" IS NOT NULL' for one, _ in pairs)
            query = (
                f'SELECT count(*) FROM "{table}" here WHERE {given} AND NOT EXISTS '
                f'(SELECT FROM "{key["referred_table"]}" there WHERE {on})'
            )
            if number := connection.scalar(text(query)):
                found[f"{table}: {key['name']}"] = number
    return found
