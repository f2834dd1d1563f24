"""DAG versions: what changes when a run uses another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safe_clear_plugin.core.findings.affected import joined, named
from safe_clear_plugin.core.findings.finding import Check, Finding
from safe_clear_plugin.core.formats import verb
from safe_clear_plugin.core.plan_text import MANY, count


@dataclass(frozen=True, slots=True)
class OlderVersion:
    """A DAG version before the latest, the runs that use it, and how the latest one's tasks differ."""

    number: int
    runs: int
    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """Task instances that come, return or go with the DAG version."""

    created: int = 0
    restored: int = 0
    removed: int = 0
    latest_version: int | None = None
    unexpanded: int = 0
    """Relatives of a map index that have not been expanded in their run."""
    older: tuple[OlderVersion, ...] = ()


def moves_to_latest(facts: VersionFacts) -> Finding | None:
    """Task instances that appear, return or go because a run moves to the latest DAG version."""
    total = facts.created + facts.restored + facts.removed
    if not total:
        return None
    parts = [
        f"{number:,} {word}"
        for number, word in (
            (facts.created, "created"),
            (facts.restored, "restored"),
            (facts.removed, "marked removed"),
        )
        if number
    ]
    version = f" (version {facts.latest_version})" if facts.latest_version else ""
    return Finding(
        "moves_to_latest",
        "warn",
        f"{count(total, 'more task instance')} change with the DAG version: {', '.join(parts)}",
        f"Runs that move to the latest DAG version{version} get that version's tasks. "
        "The rows are in the table below.",
        total,
    )


def unexpanded_relatives(facts: VersionFacts) -> Finding | None:
    """Relatives of a map index whose mapping is not known in the run."""
    if not facts.unexpanded:
        return None
    return Finding(
        "unexpanded_relatives",
        "info",
        f"{count(facts.unexpanded, 'related task')} not expanded yet",
        "Their mapping is not known in this run, so the one task instance that stands for all of them "
        "(map index -1) is taken.",
        facts.unexpanded,
    )


def dag_version(facts: VersionFacts) -> Finding | None:
    """Runs that re-run with a DAG version before the latest."""
    if not facts.older:
        return None
    number = sum(version.runs for version in facts.older)
    compared, more = facts.older[:MANY], len(facts.older) - MANY
    differences = [_difference(version) for version in compared]
    if more > 0:
        differences.append(f"And {count(more, 'more version')}.")
    return Finding(
        "dag_version",
        "info",
        f"{_used(facts.older, number)}: the latest is {facts.latest_version:,}",
        "A run re-runs with the DAG version that it was made with. With `run_on_latest_version` it would "
        f"move to version {facts.latest_version:,}. {' '.join(differences)}",
        number,
        remedy="Run on the latest version, if what was wrong has been mended there.",
        widen=("run_on_latest_version",),
    )


def _used(older: Sequence[OlderVersion], runs: int) -> str:
    if len(older) > MANY:
        numbers = [version.number for version in older]
        versions = f"{count(len(older), 'version')} from {min(numbers):,} to {max(numbers):,}"
        return f"{count(runs, 'run')} {verb(runs, 'uses', 'use')} {versions}"
    return joined(
        [f"{count(one.runs, 'run')} {verb(one.runs, 'uses', 'use')} version {one.number:,}" for one in older]
    )


def _difference(older: OlderVersion) -> str:
    parts = [
        f"{does} {named(tasks)}" for does, tasks in (("adds", older.added), ("drops", older.dropped)) if tasks
    ]
    what = joined(parts) if parts else "has the same task ids; what they do may differ"
    return f"Compared with version {older.number:,} it {what}."


CHECKS: tuple[Check[VersionFacts], ...] = (
    Check("moves_to_latest", "runs that move to the latest DAG version", moves_to_latest),
    Check("dag_version", "DAG versions before the latest", dag_version),
    Check("unexpanded_relatives", "mappings that are not expanded yet", unexpanded_relatives),
)
