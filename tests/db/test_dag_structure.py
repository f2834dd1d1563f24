"""What is compared of two versions of a DAG: each serialized attribute is, or for a reason not."""

from __future__ import annotations

import json
from pathlib import Path

import airflow.serialization
import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetAlias

from safe_clear_plugin.airflow_api.dag.dag_structure import (
    OTHERS_OF_DAG,
    OTHERS_OF_TASK,
    SAME_NAME_OF_DAG,
    SAME_NAME_OF_TASK,
    structure_of,
)
from tests.support.factories import serialized as stored
from tests.support.factories import store_dag
from tests.support.scenes import START

pytestmark = pytest.mark.airflow32

FOR_PEOPLE = {
    "doc",
    "doc_md",
    "doc_json",
    "doc_rst",
    "doc_yaml",
    "_task_display_name",
    "dag_display_name",
    "description",
    "tags",
    "owner",
    "owner_links",
    "ui_color",
    "ui_fgcolor",
    "edge_info",
    "map_index_template",
    "_operator_extra_links",
}
"""Shown, and nothing else."""

OF_A_TRY = {
    "_task_module",
    "_logger_name",
    "allow_nested_operators",
    "do_xcom_push",
    "email_on_failure",
    "email_on_retry",
    "execution_timeout",
    "executor_config",
    "max_retry_delay",
    "multiple_outputs",
    "params",
    "render_template_as_native_obj",
    "retry_delay",
    "retry_exponential_backoff",
    "start_from_trigger",
    "start_trigger_args",
    "template_ext",
    "template_fields",
    "template_fields_renderers",
    "_is_sensor",
    "default_args",
    "_disallow_kwargs_override",
}
"""What a task does once it runs, as the rest of its code, which no version has."""

SAID_BY_OTHERS = {
    "task_id": "the key",
    "dag_id": "the key",
    "tasks": "the rest",
    "downstream_task_ids": "upstream",
    "_needs_expansion": "mapping",
    "_is_mapped": "mapping",
    "_expand_input_attr": "mapping",
    "partial_kwargs": "each attribute of a mapped task",
    "task_group": "mapping",
    "dag_dependencies": "triggers and outlets",
    "_concurrency": "max_active_tasks",
}

OF_THE_PRESENT = {
    "allowed_run_types": "a clear makes no run",
    "is_paused_upon_creation": "the DAG is there",
    "access_control": "permissions are looked up when they are needed",
    "fileloc": "where the file is",
    "relative_fileloc": "where the file is",
    "_processor_dags_folder": "where the file is",
    "start_date": "each task has it",
    "rerun_with_latest_version": "the plan says what it came to",
}

OWN_NAMES = {"upstream", "mapping", "triggers", "inherits_from_skipmixin"}
"""What is compared under a name that Airflow does not serialize."""


def serialized(what):
    """Return the names of what a serialized DAG holds, of its tasks or of itself."""
    schema = Path(airflow.serialization.__file__).with_name("schema.json")
    return set(json.loads(schema.read_text())["definitions"][what]["properties"])


@pytest.mark.parametrize(
    ("what", "same_name", "others"),
    [("operator", SAME_NAME_OF_TASK, OTHERS_OF_TASK), ("dag", SAME_NAME_OF_DAG, OTHERS_OF_DAG)],
)
def test_each_serialized_attribute_is_compared_or_for_a_reason_not(what, same_name, others):
    compared = {*same_name, *others}
    left_out = {*FOR_PEOPLE, *OF_A_TRY, *SAID_BY_OTHERS, *OF_THE_PRESENT}
    assert serialized(what) - compared - left_out == set()
    assert compared - OWN_NAMES <= serialized(what)


@pytest.mark.parametrize("name", ["max_active_tis_per_dag", "max_active_tis_per_dagrun"])
def test_a_limit_of_none_at_a_time_is_not_no_limit(name, session):
    structures = []
    for dag_id, limits in (("without", {}), ("with", {name: 0})):
        with DAG(dag_id, schedule=None, start_date=START) as dag:
            EmptyOperator(task_id="work", **limits)
        store_dag(dag, session=session)
        structures.append(structure_of(stored(dag_id, session=session)))
    without, with_limit = (structure["work"] for structure in structures)
    assert with_limit == {**without, name: 0}


def test_the_assets_of_mapped_tasks_are_those_of_others(session):
    declared = {"inlets": [Asset("raw")], "outlets": [Asset("sales"), AssetAlias("today")]}
    with DAG("etl", schedule=None, start_date=START) as dag:
        EmptyOperator(task_id="one", **declared)
        EmptyOperator.partial(task_id="many", **declared).expand(doc_md=["1", "2"])
    store_dag(dag, session=session)
    structure = structure_of(stored("etl", session=session))
    for name in declared:
        assert structure["many"][name] == structure["one"][name]
    assert structure["many"]["inlets"] == [["SerializedAsset", "raw", "raw"]]
