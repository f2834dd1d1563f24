"""Airflow's tables, and Safe Clear's beside them, in another schema than the first of the search path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.schema import CreateSchema

from tests.support.environment import airflow_environment, without_airflow_settings

pytestmark = [pytest.mark.backend, pytest.mark.driver]

ROOT = Path(__file__).parents[2]


def play(url: str, schema: str, home: Path, options: Mapping[str, str]) -> dict[str, Any]:
    """Clear and undo in that schema, in a process of its own."""
    address = make_url(url).update_query_dict(options).render_as_string(hide_password=False)
    environment = {
        **without_airflow_settings(dict(os.environ)),
        **airflow_environment(home, address, "simple"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_SCHEMA": schema,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.db.schema_scene"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize(
    ("schema", "options"),
    [
        pytest.param("Meta-Data", {}, id="a name that needs quotes"),
        pytest.param("meta", {}, id="not in the search path", marks=pytest.mark.full),
        pytest.param("meta", {"options": "-csearch_path=meta,public"}, id="in it", marks=pytest.mark.full),
    ],
)
def test_a_large_plan_is_cleared_and_undone_in_another_schema(
    backend, empty_database, tmp_path, schema, options
):
    if backend.name != "postgresql":
        pytest.skip("SQLite has no schemas")
    url = empty_database()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(CreateSchema(schema))
    quoted = engine.dialect.identifier_preparer.quote_schema(schema)
    engine.dispose()
    answer = play(url, schema, tmp_path, options)
    assert {one.rpartition(".")[0] for one in answer.pop("analyzed")} == {quoted}
    assert answer == {
        "schema": schema,
        "tables": True,
        "current": True,
        "missing": [],
        "rows": 24,
        "cleared": 24,
        "foreseen": 24,
        "put back": 24,
    }
