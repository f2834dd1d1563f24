"""Cleared task instances that never start, and dag runs that fail although all that runs succeeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from safe_clear_plugin.airflow_api.dag.dependencies import trigger_rule
from safe_clear_plugin.airflow_api.scheduling import depends_on_past
from safe_clear_plugin.airflow_api.scheduling.trigger_rules import SUCCESS_MATTERS
from safe_clear_plugin.core.effects import CREATING_EFFECTS, REMOVING_EFFECTS, Effect
from safe_clear_plugin.core.finding import NOT_AFFECTED, Affected, Finding
from safe_clear_plugin.core.formats import count, verb
from safe_clear_plugin.core.outcomes import OutcomeReason
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.run_ends import ends_of
from safe_clear_plugin.findings.suggested_changes import RUN_ON_LATEST_VERSION
from safe_clear_plugin.findings.wording import in_runs, join_tasks
from safe_clear_plugin.storage.findings import (
    affected_task_instances,
    final_outcomes,
    lacking_tasks,
    predicted_states,
    previous_run_blocks,
    run_counts,
    run_outcomes,
    runs_without_rows,
)
from safe_clear_plugin.storage.findings.lacking_tasks import Tally
from safe_clear_plugin.storage.findings.run_counts import RunCount
from safe_clear_plugin.storage.findings.upstream_states import PlanScope
from safe_clear_plugin.storage.rows import plan_tables


@dataclass(frozen=True, slots=True)
class NeverStartsFacts:
    """Task instances of a plan that never start, and the runs that they end."""

    never: Affected = NOT_AFFECTED
    """Cleared, and never started because of what lies upstream in the run."""
    lacking: tuple[str, ...] = ()
    """Tasks without a task instance in some run."""
    latest_creates: bool = False
    """Whether the latest version would create one that is missing."""
    runs: tuple[RunCount, ...] = ()
    with_failed_leaf: int = 0
    """Runs that fail by a task instance that is neither cleared nor downstream of a cleared one."""
    empty_runs: int = 0
    """Runs of the range without any task instance."""
    others: Affected = NOT_AFFECTED
    """Task instances outside the plan that have no state, in a finished run."""

    def fail(self, *reasons: OutcomeReason, state: str | None = None) -> int:
        """Count the runs that fail or never end for these reasons, of those in a state before."""
        return sum(run.count for run in self.runs if run.reason in reasons and state in (None, run.state))


def collect_facts(plan: PlanContext) -> NeverStartsFacts:
    """Write the outcomes of task instances and runs, and count what does not simply run."""
    scope = PlanScope(plan.plan_id, plan.dag_id)
    tallies = _tallies(plan, scope)
    deciding = run_outcomes.has_deciding_rows(scope, plan.session)
    if deciding or _matters(plan, tallies):
        final_outcomes.foresee(scope, plan.upstream, tallies, lambda: _block_by_past(plan), plan.session)
        if plan.total(Effect.SCHEDULER_CREATES):
            predicted_states.drop_unexpanded(plan.plan_id, plan.session)
        deciding = deciding or run_outcomes.has_deciding_rows(scope, plan.session)
    ends, whole = ends_of(plan), plan.clears_whole_runs
    written = run_outcomes.write(scope, ends, plan.session, whole=whole, deciding=deciding)
    runs = run_counts.count(scope, plan.session) if written else []
    reasons = {run.reason for run in runs}
    never = _count("never_starts", plan) if reasons & set(NEVER_REASONS) else NOT_AFFECTED
    lacking = tuple(sorted({task_id for tally in tallies.values() for task_id in tally.lacking}))
    failed_leaf = OutcomeReason.LEAF_FAILED in reasons and not whole
    return NeverStartsFacts(
        never=never,
        lacking=lacking if never.count else (),
        latest_creates=_latest_creates(plan, scope, lacking) if never.count else False,
        runs=tuple(runs),
        with_failed_leaf=(run_counts.count_with_failed_leaf(scope, ends, plan.session) if failed_leaf else 0),
        empty_runs=runs_without_rows.count_without_task_instances(plan.plan_id, plan.scope, plan.session),
        others=_count("others_start", plan) if OutcomeReason.OTHERS_OPEN in reasons else NOT_AFFECTED,
    )


def _count(code: str, plan: PlanContext) -> Affected:
    return affected_task_instances.count_by_task(code, plan.plan_id, plan.dag_id, plan.session)


NEVER_REASONS = (OutcomeReason.DEADLOCK, OutcomeReason.NEVER_ENDS)


def _tallies(plan: PlanContext, scope: PlanScope) -> Mapping[int, Tally]:
    """Look for tasks without a task instance, in one or two statements."""
    if plan.clears_whole_runs:
        wanted = {
            shape.number: frozenset(shape.version.task_ids) for shape in plan.shapes if shape.version.dag
        }
    else:
        wanted = {
            shape: frozenset(r.related_task_id for task in tasks for r in task.all_relations)
            for shape, tasks in plan.upstream.items()
        }
    changes = plan.removes_cleared or bool(plan.total(*CREATING_EFFECTS, *REMOVING_EFFECTS))
    return lacking_tasks.tally(scope, wanted, changes, plan.session)


def _matters(plan: PlanContext, tallies: Mapping[int, Tally]) -> bool:
    """Whether anything may not run although what lies upstream of it succeeds."""
    if any(tally.lacking or tally.removed for tally in tallies.values()):
        return True
    dags = [shape.version.dag for shape in plan.shapes if shape.version.dag is not None]
    return any(
        task.depends_on_past or trigger_rule(task) in SUCCESS_MATTERS for dag in dags for task in dag.tasks
    )


def _block_by_past(plan: PlanContext) -> final_outcomes.Changed:
    rules = depends_on_past.rules_for((version, version.task_ids) for version in plan.versions.values())
    return previous_run_blocks.write(plan_tables(plan.plan_id), rules, plan.dag_id, plan.session)


def _latest_creates(plan: PlanContext, scope: PlanScope, lacking: tuple[str, ...]) -> bool:
    """Whether a plan on the latest version would create a task that is missing, in each of the runs."""
    if plan.on_latest or not plan.selection.reset_dag_runs or plan.latest.dag is None:
        return False
    tasks = [plan.latest.dag.get_task(id_) for id_ in lacking if plan.latest.dag.has_task(id_)]
    if not tasks:
        return False
    first, last = run_counts.task_dates(scope, NEVER_REASONS, plan.session)
    return any(
        (first is None or task.start_date is None or task.start_date <= first)
        and (last is None or task.end_date is None or last <= task.end_date)
        for task in tasks
    )


def never_starts(facts: NeverStartsFacts) -> Finding | None:
    """Find cleared task instances that never start, so that their runs fail or stay open."""
    never = facts.never
    if not never.count:
        return None
    open_, failing = facts.fail(OutcomeReason.NEVER_ENDS), facts.fail(OutcomeReason.DEADLOCK)
    green = facts.fail(*NEVER_REASONS, state="success")
    cause = (
        f"{join_tasks(facts.lacking)} {verb(len(facts.lacking), 'has', 'have')} no task instance there"
        if facts.lacking
        else "what lies upstream never starts, or ends so that their trigger rule is never met"
    )
    ends = [
        f"{count(failing, 'run')} will fail as soon as nothing else runs" if failing else "",
        f"{count(open_, 'run')} will never end" if open_ else "",
    ]
    before = f" {green:,} of these runs {verb(green, 'is', 'are')} Success now." if green else ""
    return Finding(
        "never_starts",
        "acknowledge" if green else "warn",
        f"{count(never.count, 'cleared task instance')} will never start: {join_tasks(never.tasks)} "
        f"{in_runs(never.runs)}",
        f"Their trigger rules wait for upstream task instances that will not come: {cause}. "
        f"{' and '.join(filter(None, ends))}.{before}",
        never.count,
        remedy=(
            "Run on the latest version, which creates the missing task instances."
            if facts.latest_creates
            else "Exclude these task instances."
        ),
        widen=(RUN_ON_LATEST_VERSION,) if facts.latest_creates else (),
        rows=True,
    )


def runs_fail(facts: NeverStartsFacts) -> Finding | None:
    """Find runs that fail by task instances that are neither cleared nor downstream of cleared ones."""
    if not (failing := facts.with_failed_leaf):
        return None
    return Finding(
        "runs_fail",
        "warn",
        f"{count(failing, 'run')} will fail even if everything that is cleared succeeds",
        f"{verb(failing, 'It has', 'They have')} other last task instances that are Failed or Upstream "
        "Failed and not in this plan. They decide the state of the run.",
        failing,
        remedy="Select these task instances too.",
        rows=True,
    )


def others_start(facts: NeverStartsFacts) -> Finding | None:
    """Find task instances that nobody selected, and that start because their run continues."""
    others = facts.others
    if not others.count:
        return None
    return Finding(
        "others_start",
        "acknowledge",
        f"{count(others.count, 'task instance')} that {verb(others.count, 'is', 'are')} not in this plan "
        f"will start too: {join_tasks(others.tasks)} {in_runs(others.runs)}",
        f"{verb(others.count, 'It has', 'They have')} no state, and the clear queues "
        f"{verb(others.runs, 'the finished run', 'the finished runs')} again. How "
        f"{verb(others.runs, 'the run ends', 'the runs end')} is not known.",
        others.count,
        remedy="Select these task instances too. Then the plan shows their outcomes.",
        rows=True,
    )


def runs_without_task_instances(facts: NeverStartsFacts) -> Finding | None:
    """Find runs of the range in which there is nothing to clear."""
    if not (empty := facts.empty_runs):
        return None
    return Finding(
        "runs_without_task_instances",
        "warn",
        f"{count(empty, 'run')} of the selection {verb(empty, 'has', 'have')} no task instances, so nothing "
        f"is cleared in {verb(empty, 'it', 'them')}",
        "Perhaps `airflow db clean` deleted them. A clear does not create them.",
        empty,
    )


AREA = Area(
    "never_starts",
    collect_facts,
    (
        Check("never_starts", "task instances that will never start", never_starts, is_grave=True),
        Check("runs_fail", "runs that will fail by task instances that are not in this plan", runs_fail),
        Check("others_start", "other task instances that will start", others_start, is_grave=True),
        Check("runs_without_task_instances", "runs without task instances", runs_without_task_instances),
    ),
    writes=True,
)
