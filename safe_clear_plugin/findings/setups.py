"""Work that runs again without its setup, and setups that run again without their teardown."""

from __future__ import annotations

from dataclasses import dataclass

from safe_clear_plugin.airflow_api.dag import setups
from safe_clear_plugin.airflow_api.platform.joins import hash_joins
from safe_clear_plugin.core.effects import Effect
from safe_clear_plugin.core.finding import NOT_AFFECTED, Affected, Finding
from safe_clear_plugin.core.formats import count, verb
from safe_clear_plugin.findings.area import Area, Check
from safe_clear_plugin.findings.context import PlanContext
from safe_clear_plugin.findings.suggested_changes import INCLUDE_SETUPS
from safe_clear_plugin.findings.wording import in_runs, is_or_are, join_tasks
from safe_clear_plugin.storage.findings import affected_task_instances, task_relations
from safe_clear_plugin.storage.plans import statistics
from safe_clear_plugin.storage.tables import plan_relation


@dataclass(frozen=True, slots=True)
class SetupFacts:
    """Cleared task instances that run again, and the setups or teardowns that these are left without."""

    work: Affected = NOT_AFFECTED
    """Without a setup whose teardown has run since."""
    left_setups: tuple[str, ...] = ()
    setups: Affected = NOT_AFFECTED
    """Without a teardown that will run after them."""
    left_teardowns: tuple[str, ...] = ()
    filtered: bool = False
    """Whether the states of the selection keep setups and teardowns out."""
    excluded: frozenset[str] = frozenset()
    """Tasks that the selection excludes."""

    def can_be_taken(self, task_ids: tuple[str, ...]) -> bool:
        """Whether the switch for setups and teardowns takes any of the tasks."""
        return self.filtered and not self.excluded.issuperset(task_ids)


def collect_facts(plan: PlanContext) -> SetupFacts:
    """Look for setups and teardowns that are left out: only states, exclusions and running ones do that."""
    selection = plan.selection
    narrowed = selection.state or selection.exclude_task_id or selection.exclude_task_instance
    if not (plan.setups_and_teardowns and (narrowed or plan.total(Effect.LEAVE_OUT))):
        return SetupFacts()
    if not _write_relations(plan):
        return SetupFacts()
    work, left_setups = _affected("setup_left_out", plan)
    setups_, left_teardowns = _affected("teardown_left_out", plan)
    return SetupFacts(
        work=work,
        left_setups=left_setups,
        setups=setups_,
        left_teardowns=left_teardowns,
        filtered=bool(selection.state) and not selection.include_setups,
        excluded=frozenset(selection.exclude_task_id),
    )


def _write_relations(plan: PlanContext) -> int:
    found = {}
    for shape in plan.shapes:
        if (planned := plan.planned_tasks.get(shape.number)) and (dag := shape.version.dag) is not None:
            found[shape.number] = list(setups.used_by(dag, shape.tasks_among(planned.cleared)))
    written = task_relations.write_relations(plan.plan_id, found, plan.session)
    if written:
        statistics.refresh_within(written, (plan_relation,), plan.session)
    return written


def _affected(code: str, plan: PlanContext) -> tuple[Affected, tuple[str, ...]]:
    of_plan = (plan.plan_id, plan.dag_id, plan.session)
    with hash_joins(plan.session):
        found = affected_task_instances.count_by_task(code, *of_plan)
    left_out = affected_task_instances.left_out_tasks(code, *of_plan) if found.count else ()
    return found, tuple(left_out)


def setup_left_out(facts: SetupFacts) -> Finding | None:
    """Find work that runs again although the teardown of its setup has run."""
    work, left_out = facts.work, facts.left_setups
    if not work.count:
        return None
    return Finding(
        "setup_left_out",
        "acknowledge",
        f"{count(work.count, 'task instance')} will run again without {verb(work.count, 'its', 'their')} "
        f"setup: {join_tasks(left_out)} {is_or_are(len(left_out))} not in this plan {in_runs(work.runs)}",
        f"Affected: {join_tasks(work.tasks)}. The teardown has run since, so what the setup made is gone.",
        work.count,
        remedy=_remedy(facts, left_out),
        widen=(INCLUDE_SETUPS,) if facts.can_be_taken(left_out) else (),
        rows=True,
    )


def teardown_left_out(facts: SetupFacts) -> Finding | None:
    """Find setups that run again and that nothing will tear down."""
    setups_, left_out = facts.setups, facts.left_teardowns
    if not setups_.count:
        return None
    return Finding(
        "teardown_left_out",
        "acknowledge",
        f"{count(setups_.count, 'setup')} will run again without {verb(setups_.count, 'its', 'their')} "
        f"teardown: {join_tasks(left_out)} {is_or_are(len(left_out))} not in this plan "
        f"{in_runs(setups_.runs)}",
        f"Affected: {join_tasks(setups_.tasks)}. The teardown is finished and will not run again, so what "
        "the setup makes will stay.",
        setups_.count,
        remedy=_remedy(facts, left_out),
        widen=(INCLUDE_SETUPS,) if facts.can_be_taken(left_out) else (),
        rows=True,
    )


def _remedy(facts: SetupFacts, left_out: tuple[str, ...]) -> str:
    if facts.can_be_taken(left_out):
        return "Include setups and teardowns: the states of the selection leave them out."
    return f"Remove {join_tasks(left_out)} from the exclusions."


AREA = Area(
    "setups",
    collect_facts,
    (
        Check(
            "setup_left_out",
            "work that will run again without its setup",
            setup_left_out,
            is_grave=True,
        ),
        Check(
            "teardown_left_out",
            "setups that will run again without their teardown",
            teardown_left_out,
            is_grave=True,
        ),
    ),
    writes=True,
)
