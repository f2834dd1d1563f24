"""One-sentence summary of a plan, shown before it is confirmed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from safe_clear_plugin.core import formats
from safe_clear_plugin.core.effects import MOVED_EFFECTS, SCHEDULER_EFFECTS, Effect
from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.plan import PlanSummary
from safe_clear_plugin.core.planned_rows import PlannedRun, StateChange, run_date
from safe_clear_plugin.core.states import state_name

DONE_WORDS = {Effect.CREATE: "created", Effect.RESTORE: "restored", Effect.REMOVE: "marked removed"}


@dataclass(frozen=True, slots=True)
class PlanExtent:
    """The numbers of a plan, and the first and the last run that it changes."""

    changes: Sequence[StateChange]
    run_changes: Sequence[StateChange]
    first: PlannedRun | None
    last: PlannedRun | None


@dataclass(frozen=True, slots=True)
class ConfirmationSummary:
    """``what`` ends before the DAG id, which pages set apart; ``then`` are the consequences."""

    what: str
    when: str
    then: tuple[str, ...]

    def sentence_for(self, dag_id: str) -> str:
        """Return the whole sentence."""
        return "; ".join((f"{self.what} {dag_id}{', ' if self.when else ''}{self.when}", *self.then))


def summarize(plan: PlanSummary, extent: PlanExtent, tasks: int) -> ConfirmationSummary:
    """Say how many task instances of how many tasks are cleared, in which runs, and from which states."""
    what = (
        f"Clear {count(plan.task_instances, 'task instance')} of {count(tasks, 'task')} "
        f"in {count(plan.dag_runs, 'run')} of"
    )
    then = (*_of_task_instances(extent.changes), *_of_runs(extent.run_changes))
    return ConfirmationSummary(what, span(extent.first, extent.last), then)


def span(first: PlannedRun | None, last: PlannedRun | None) -> str:
    """Return the dates of the first and the last run, each with its weekday, in UTC."""
    if first is None or last is None:
        return ""
    start, end = (formats.moment(run_date(run)) for run in (first, last))
    return start if start == end else f"{start.removesuffix(' UTC')} to {end}"


def _of_task_instances(changes: Iterable[StateChange]) -> Iterator[str]:
    changes = list(changes)
    for effect, done in ((Effect.LEAVE_OUT, "left out"), (Effect.TERMINATE, "will be terminated")):
        if number := sum(change.count for change in changes if change.effect == effect):
            yield f"{count(number, 'running task instance')} {done}"
    if moved := counted_effects(changes, MOVED_EFFECTS):
        yield f"{', '.join(moved)} with the Dag version"
    if foreseen := counted_effects(changes, SCHEDULER_EFFECTS):
        yield f"{', '.join(foreseen)} by the scheduler"


def counted_effects(changes: Iterable[StateChange], effects: Sequence[Effect]) -> list[str]:
    """Return how many task instances are created, restored and removed: ``5 created``, ``1 restored``."""
    counts = Counter[Effect]()
    for change in changes:
        if change.effect in effects:
            counts[change.effect.shown] += change.count
    return [f"{counts[effect]:,} {done}" for effect, done in DONE_WORDS.items() if counts[effect]]


def _of_runs(changes: Iterable[StateChange]) -> Iterator[str]:
    goes: Counter[str] = Counter()
    stays: Counter[str] = Counter()
    for change in changes:
        (stays if change.before == change.after else goes)[state_name(change.after)] += change.count
    parts = [f"will be {state}" for state, _ in goes.most_common()]
    parts += [f"{'stays' if n == 1 else 'stay'} {state}" for state, n in stays.most_common()]
    numbers = [*(n for _, n in goes.most_common()), *(n for _, n in stays.most_common())]
    said = [
        f"{count(number, 'run') if index == 0 else f'{number:,}'} {part}"
        for index, (number, part) in enumerate(zip(numbers, parts, strict=True))
    ]
    if said:
        yield ", ".join(said)
