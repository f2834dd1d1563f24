"""The environment of the demo."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PLACE = Path(__file__).parents[2] / "demo" / "environment.py"


@pytest.fixture
def environment(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("demo_environment", PLACE)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HOME", tmp_path)
    return module


def test_only_our_own_options_come_from_the_shell(environment, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE", "20")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "SequentialExecutor")
    monkeypatch.setenv("AIRFLOW__CORE__DEFAULT_POOL_TASK_SLOT_COUNT", "3")
    found = environment.component_environment("127.0.0.1", 8080)
    assert found["AIRFLOW__SAFE_CLEAR__APPROVE_ABOVE"] == "20"
    assert found["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert "AIRFLOW__CORE__DEFAULT_POOL_TASK_SLOT_COUNT" not in found
