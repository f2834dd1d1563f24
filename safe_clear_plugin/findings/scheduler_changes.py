"""Task instances that the scheduler creates, restores or removes, because their runs are queued again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safe_clear_plugin.core.effects import SCHEDULER_EFFECTS, Effect
from safe_clear_plugin.core.finding import Finding
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.suggested_changes import RUN_ON_LATEST_VERSION
from safe_clear_plugin.findings.wording import in_runs, join_tasks
from safe_clear_plugin.storage.findings.scheduler_changes import Changed, count_changes

WORDS = {
    Effect.SCHEDULER_CREATES: "created",
    Effect.SCHEDULER_RESTORES: "restored",
    Effect.SCHEDULER_REMOVES: "marked Removed",
}


@dataclass(frozen=True, slots=True)
class SchedulerChangeFacts:
    """Changes of the scheduler in addition to the clear."""

    changes: Sequence[Changed] = ()
    moved: bool = False
    """Whether the runs move to the latest version already."""

    def of(self, effect: Effect) -> Sequence[Changed]:
        """Return the changes with one effect."""
        return [change for change in self.changes if change.effect == effect]

    @property
    def successes_lost(self) -> int:
        """The number of successes that are removed."""
        return sum(change.successes for change in self.of(Effect.SCHEDULER_REMOVES))


def collect_facts(plan: PlanContext) -> SchedulerChangeFacts:
    """Count what the scheduler will do, if anything."""
    if not plan.total(*SCHEDULER_EFFECTS):
        return SchedulerChangeFacts()
    return SchedulerChangeFacts(count_changes(plan.plan_id, plan.session), plan.on_latest)


def scheduler_changes(facts: SchedulerChangeFacts) -> Finding | None:
    """Find task instances that nobody selected and the scheduler changes all the same."""
    total = sum(change.count for change in facts.changes)
    if not total:
        return None
    starts = bool(facts.of(Effect.SCHEDULER_CREATES) or facts.of(Effect.SCHEDULER_RESTORES))
    return Finding(
        "scheduler_changes",
        "acknowledge" if starts or facts.successes_lost else "warn",
        f"{count(total, 'more task instance')} will change when the scheduler looks at the runs: "
        f"{', '.join(_parts(facts))}",
        _detail(facts, starts),
        total,
        remedy=""
        if facts.moved
        else "Run on the latest version to have the clear itself create, restore and remove them.",
        widen=() if facts.moved else (RUN_ON_LATEST_VERSION,),
        rows=True,
    )


def _parts(facts: SchedulerChangeFacts) -> list[str]:
    parts = []
    for effect, words in WORDS.items():
        if found := facts.of(effect):
            number, runs = sum(change.count for change in found), max(change.runs for change in found)
            parts.append(
                f"{number:,} {words} ({join_tasks([change.task_id for change in found])} {in_runs(runs)})"
            )
    return parts


def _detail(facts: SchedulerChangeFacts, starts: bool) -> str:
    sentences = [
        "The Dag has changed since these runs, and they use its latest version. Task instances outside the "
        "selection change too."
    ]
    if starts:
        sentences.append("The created and restored ones will run, and a run fails if one of them does.")
    if lost := facts.successes_lost:
        sentences.append(f"{lost:,} that succeeded will become Removed.")
    sentences.append("An undo takes this back where nothing of the run has started.")
    return " ".join(sentences)


AREA = Area(
    "scheduler_changes",
    collect_facts,
    (
        Check(
            "scheduler_changes",
            "task instances that the scheduler will create, restore or remove",
            scheduler_changes,
            is_grave=True,
        ),
    ),
    has_time_limit=False,
)
