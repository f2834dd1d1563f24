"""DAG versions as they are read from the metadata DB."""

from __future__ import annotations

import pytest
from airflow.models.dag_version import DagVersion
from airflow.serialization.serialized_objects import DagSerialization
from sqlalchemy import select

from safe_clear_plugin.airflow_api.dag import dag_versions
from tests.support.scenes import store_etl

pytestmark = pytest.mark.airflow32


def test_what_airflow_itself_reads_is_not_touched(session, monkeypatch):
    """Whether extra links are read along is one setting for all threads of a process."""
    store_etl(session)
    monkeypatch.setattr(DagSerialization, "_load_operator_extra_links", True)
    ids = list(session.scalars(select(DagVersion.id)))
    found = dag_versions.load_versions(ids, session)
    assert all(found[id_].dag is not None for id_ in ids)
    assert DagSerialization._load_operator_extra_links


def test_a_version_is_deserialized_once(session):
    store_etl(session)
    ids = list(session.scalars(select(DagVersion.id)))
    first = dag_versions.load_versions(ids, session)
    again = dag_versions.load_versions(ids, session)
    assert ids
    assert all(again[id_] is first[id_] for id_ in ids)
