"""Clears that are played on one live Airflow: what came before each, what is asked for, what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow import settings
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.support.plans import PAGES, apply_to_the_end, make_plan
from tests.support.server import AirflowServer

FINISHED_RUN_STATES = ("success", "failed")

Key = tuple[str, str] | tuple[str, str, int]


@dataclass(frozen=True)
class Scene:
    """A DAG, its past, and a clear.

    ``ends`` is false when some cleared run does not finish by itself; ``refused`` when the plan cannot be
    confirmed, and ``later`` when its test confirms it.
    """

    dag_id: str
    past: Callable[[Session], object]
    selection: dict[str, Any] = field(default_factory=dict)
    paused: bool = False
    ends: bool = True
    refused: bool = False
    later: bool = False


class Stage:
    """The scenes on a running server."""

    def __init__(self, server: AirflowServer, scenes: dict[str, Scene]) -> None:
        """Take the scenes, whose past has been written."""
        self.server = server
        self.scenes = scenes
        self.plans: dict[str, dict[str, Any]] = {}
        self.behind: dict[tuple[str, str], list[dict[str, Any]]] = {}
        """The task instances that a plan listed behind a finding, by scene and code."""
        self.before: dict[str, dict[Key, TaskInstance]] = {}
        """The task instances of each DAG before anything was cleared."""

    def play(self) -> None:
        """Plan all, confirm all, then wait until whatever can end has ended."""
        for name, scene in self.scenes.items():
            self.before[scene.dag_id] = self.task_instances(scene.dag_id)
            self.plans[name] = make_plan(self.server, dag_id=scene.dag_id, **scene.selection)
            self._read_behind(name)
        confirmed = {name: plan for name, plan in self.plans.items() if self._is_confirmed(name)}
        for plan in confirmed.values():
            answer = apply_to_the_end(self.server, plan)
            assert (answer.status_code, answer.json()["status"]) == (200, "applied"), answer.text
        for name in confirmed:
            if self.scenes[name].ends:
                self.wait_until(lambda name=name: self.has_ended(name), f"the runs of {name} have ended")

    def _is_confirmed(self, name: str) -> bool:
        return not (self.scenes[name].refused or self.scenes[name].later)

    def _read_behind(self, name: str) -> None:
        plan = self.plans[name]
        for finding in plan["findings"]:
            if finding["rows"]:
                path = f"{PAGES}/plans/{plan['id']}/findings/{finding['code']}.json"
                answer = self.server.api("GET", path, params={"limit": 1000}).raise_for_status().json()
                assert answer["total"] == finding["count"]
                self.behind[name, finding["code"]] = answer["items"]

    def finding(self, name: str, code: str) -> dict[str, Any]:
        """Return a finding of a scene's plan."""
        found = {finding["code"]: finding for finding in self.plans[name]["findings"]}
        assert code in found, f"{name} has {sorted(found)}"
        return found[code]

    def codes(self, name: str) -> set[str]:
        """Return the codes of all findings of a scene's plan."""
        return {finding["code"] for finding in self.plans[name]["findings"]}

    def keys_behind(self, name: str, code: str) -> set[Key]:
        """Return the task instances that a finding listed."""
        return {_key(row["run_id"], row["task_id"], row["map_index"]) for row in self.behind[name, code]}

    def cleared(self, name: str) -> set[Key]:
        """Return the task instances that a scene's plan cleared."""
        path = f"{PAGES}/plans/{self.plans[name]['id']}/task_instances.json"
        answer = self.server.api("GET", path, params={"limit": 1000}).raise_for_status().json()
        assert answer["total"] == len(answer["items"])
        return {
            _key(row["run_id"], row["task_id"], row["map_index"])
            for row in answer["items"]
            if row["effect"] in ("clear", "terminate")
        }

    def has_ended(self, name: str) -> bool:
        """Whether all cleared runs of a scene have finished."""
        planned = {run["run_id"] for run in self.plans[name]["dag_runs"]}
        runs = self.runs(self.scenes[name].dag_id)
        return all(runs[run_id].state in FINISHED_RUN_STATES for run_id in planned)

    def runs(self, dag_id: str) -> dict[str, DagRun]:
        """Return the runs of a DAG as they are now."""
        with settings.NonScopedSession(expire_on_commit=False) as session:
            return {run.run_id: run for run in session.scalars(select(DagRun).where(DagRun.dag_id == dag_id))}

    def task_instances(self, dag_id: str) -> dict[Key, TaskInstance]:
        """Return the task instances of a DAG as they are now."""
        with settings.NonScopedSession(expire_on_commit=False) as session:
            found = session.scalars(select(TaskInstance).where(TaskInstance.dag_id == dag_id))
            return {_key(ti.run_id, ti.task_id, ti.map_index): ti for ti in found}

    def states(self, dag_id: str) -> dict[Key, str | None]:
        """Return the states of the task instances of a DAG as they are now."""
        return {key: _text(ti.state) for key, ti in self.task_instances(dag_id).items()}

    def cleared_states(self, name: str) -> dict[Key, str | None]:
        """Return what has become of what a scene's plan cleared."""
        states = self.states(self.scenes[name].dag_id)
        return {key: states[key] for key in self.cleared(name)}

    def tally(self, name: str) -> Counter[str | None]:
        """Count what has become of what a scene's plan cleared."""
        return Counter(self.cleared_states(name).values())

    def run_states(self, dag_id: str) -> dict[str, str]:
        """Return the states of the runs of a DAG as they are now."""
        return {run_id: str(run.state) for run_id, run in self.runs(dag_id).items()}

    def was_looked_at(self, dag_id: str, run_id: str) -> bool:
        """Whether the scheduler has decided on a run since it was cleared, which forgets that it ever did."""
        return self.runs(dag_id)[run_id].last_scheduling_decision is not None

    def wait_until(self, condition: Callable[[], bool], meaning: str) -> None:
        """Wait until ``condition`` holds."""
        self.server.wait_until(condition, meaning, timeout=240)

    def pause(self, dag_id: str, *, paused: bool) -> None:
        """Pause or unpause a DAG, as a person does."""
        self.server.api("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": paused}).raise_for_status()


def _key(run_id: str, task_id: str, map_index: int) -> Key:
    return (run_id, task_id) if map_index < 0 else (run_id, task_id, map_index)


def _text(state: Any) -> str | None:
    return None if state is None else str(state)


def most_at_a_time(spans: list[tuple[Any, Any]]) -> int:
    """Return how many of these spans of time, each from its start to its end, overlap at most."""
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)
