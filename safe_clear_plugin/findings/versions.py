"""DAG versions: what changes when a run uses another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safe_clear_plugin.airflow_api.dag.version_history import gets_version_at_each_parse
from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.formats import MANY, count, join_words, verb
from safe_clear_plugin.core.plan_text import REMEDY_FOR_PARSES
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.suggested_changes import RUN_ON_LATEST_VERSION
from safe_clear_plugin.findings.wording import join_tasks
from safe_clear_plugin.storage.findings import plan_runs


@dataclass(frozen=True, slots=True)
class OlderVersion:
    """A DAG version before the latest, the runs that use it, and how the latest version's tasks differ."""

    number: int
    runs: int
    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """Task instances that the move to the latest DAG version changes, and runs that do not move."""

    created: int = 0
    restored: int = 0
    removed: int = 0
    latest_version: int | None = None
    unexpanded: int = 0
    """Tasks related to a map index that are not expanded in their run."""
    older: tuple[OlderVersion, ...] = ()
    dag_id: str = ""
    versions_of_parses: int | None = None
    """The number of versions of the DAG, if it gets one at each parse."""


def collect_facts(plan: PlanContext) -> VersionFacts:
    """Count task instances by effect, and runs by the DAG version that they use."""
    return VersionFacts(
        created=plan.total(Effect.CREATE),
        restored=plan.total(Effect.RESTORE),
        removed=plan.total(Effect.REMOVE),
        latest_version=plan.latest.number,
        unexpanded=sum(
            row["map_index"] == -1 != plan.selection.map_index for shape in plan.shapes for row in shape.tasks
        ),
        older=_older_versions(plan),
        dag_id=plan.dag_id,
        versions_of_parses=gets_version_at_each_parse(plan.dag_id, plan.session),
    )


def _older_versions(plan: PlanContext) -> tuple[OlderVersion, ...]:
    runs = plan_runs.count_by_version(plan.plan_id, plan.session)
    latest = set(plan.latest.task_ids)
    versions = sorted(plan.versions.values(), key=lambda version: -version.number)
    return tuple(
        OlderVersion(
            number=version.number,
            runs=runs[version.id],
            added=tuple(sorted(latest - set(version.task_ids))),
            dropped=tuple(sorted(set(version.task_ids) - latest)),
        )
        for version in versions
        if version.id != plan.latest.id and runs.get(version.id)
    )


def moves_to_latest(facts: VersionFacts) -> Finding | None:
    """Find task instances that the move to the latest DAG version creates, restores or removes."""
    total = facts.created + facts.restored + facts.removed
    if not total:
        return None
    parts = [
        f"{number:,} {word}"
        for number, word in (
            (facts.created, "created"),
            (facts.restored, "restored"),
            (facts.removed, "marked Removed"),
        )
        if number
    ]
    version = f" (version {facts.latest_version})" if facts.latest_version else ""
    return Finding(
        "moves_to_latest",
        "warn",
        f"{count(total, 'more task instance')} will change with the Dag version: {', '.join(parts)}",
        f"Runs that move to the latest Dag version{version} get the tasks of that version.",
        total,
        rows=True,
    )


def unexpanded_relatives(facts: VersionFacts) -> Finding | None:
    """Find tasks related to a map index whose mapping is unknown in the run."""
    if not facts.unexpanded:
        return None
    return Finding(
        "unexpanded_relatives",
        "info",
        f"{count(facts.unexpanded, 'related task')} {verb(facts.unexpanded, 'is', 'are')} not expanded yet",
        "Their mapping is unknown in this run, so the plan takes the one task instance (map index -1) that "
        "stands for all of them.",
        facts.unexpanded,
    )


def dag_version(facts: VersionFacts) -> Finding | None:
    """Find runs that re-run with a DAG version before the latest."""
    if not facts.older:
        return None
    number = sum(version.runs for version in facts.older)
    differences = [_difference(version) for version in facts.older[:MANY]]
    if (more := len(facts.older) - MANY) > 0:
        differences.append(f"{count(more, 'more version')} {verb(more, 'is', 'are')} not compared here.")
    return Finding(
        "dag_version",
        "info",
        f"{_versions_used(facts.older, number)}: the latest is {facts.latest_version:,}",
        "A run re-runs with the Dag version that created it. With `run_on_latest_version` it would move to "
        f"version {facts.latest_version:,}. {' '.join(differences)}",
        number,
        remedy="Use the latest version if the bug is fixed there.",
        widen=(RUN_ON_LATEST_VERSION,),
    )


def version_at_each_parse(facts: VersionFacts) -> Finding | None:
    """Find a DAG whose file gives another DAG each time it is parsed."""
    if not facts.versions_of_parses:
        return None
    return Finding(
        "version_at_each_parse",
        "info",
        f"{facts.dag_id} gets a new Dag version at each parse: it has {facts.versions_of_parses:,}",
        "Its file gives a different Dag each time it is parsed. A version with the same tasks and settings "
        "does not stop this clear. Any other one does, and the plan's page then names what changed.",
        facts.versions_of_parses,
        remedy=REMEDY_FOR_PARSES,
    )


def _versions_used(older: Sequence[OlderVersion], runs: int) -> str:
    if len(older) > MANY:
        numbers = [version.number for version in older]
        versions = f"{count(len(older), 'version')} from {min(numbers):,} to {max(numbers):,}"
        return f"{count(runs, 'run')} {verb(runs, 'uses', 'use')} {versions}"
    return join_words(
        [f"{count(one.runs, 'run')} {verb(one.runs, 'uses', 'use')} version {one.number:,}" for one in older]
    )


def _difference(older: OlderVersion) -> str:
    parts = [
        f"{does} {join_tasks(tasks)}"
        for does, tasks in (("adds", older.added), ("drops", older.dropped))
        if tasks
    ]
    difference = join_words(parts) if parts else "has the same task ids, but their code may differ"
    return f"Compared with version {older.number:,} it {difference}."


AREA = Area(
    "versions",
    collect_facts,
    (
        Check("moves_to_latest", "runs that will move to the latest Dag version", moves_to_latest),
        Check("dag_version", "Dag versions before the latest", dag_version),
        Check("version_at_each_parse", "Dag versions that come at each parse", version_at_each_parse),
        Check("unexpanded_relatives", "mappings that are not expanded yet", unexpanded_relatives),
    ),
)
