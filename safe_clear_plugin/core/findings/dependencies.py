"""What lies upstream and downstream of the cleared task instances in their own dag runs."""

from __future__ import annotations

from dataclasses import dataclass

from safe_clear_plugin.core.findings.affected import NOTHING, Affected, by_state, in_runs, named, state_word
from safe_clear_plugin.core.findings.finding import Check, Finding
from safe_clear_plugin.core.plan_text import count

INCLUDE_DOWNSTREAM = ("include_downstream",)
INCLUDE_UPSTREAM = ("include_upstream",)


@dataclass(frozen=True, slots=True)
class NeighbourFacts:
    """Task instances around the cleared ones, and cleared ones that those around them keep from running."""

    stale: Affected = NOTHING
    """Downstream, not in the plan, succeeded."""
    stays: Affected = NOTHING
    """Downstream, not in the plan, finished otherwise."""
    failed: Affected = NOTHING
    """Cleared, and upstream_failed as soon as the scheduler looks at them."""
    failed_by: Affected = NOTHING
    """What lies directly upstream of those and is not cleared."""
    skipped: Affected = NOTHING
    waiting: Affected = NOTHING
    """Cleared, behind something unfinished that is not cleared with them."""
    waiting_for: Affected = NOTHING


def stale_downstream(facts: NeighbourFacts) -> Finding | None:
    """Downstream task instances that succeeded on data that is about to be made anew."""
    stale = facts.stale
    if not stale.count:
        return None
    goes = "goes" if stale.count == 1 else "go"
    are = "is" if len(stale.tasks) == 1 else "are"
    return Finding(
        "stale_downstream",
        "acknowledge",
        f"{count(stale.count, 'downstream task instance')} {goes} stale: {named(stale.tasks)} succeeded "
        f"{in_runs(stale.runs)} and {are} not included",
        "They worked on what the cleared task instances made before. Those make it anew, but these do not "
        "run again, so what they wrote no longer fits.",
        stale.count,
        remedy="Include downstream, or tick the box if the new result is the same or nobody needs theirs.",
        widen=INCLUDE_DOWNSTREAM,
        rows=True,
    )


def downstream_stays(facts: NeighbourFacts) -> Finding | None:
    """Downstream task instances that finished without success and stay so."""
    stays = facts.stays
    if not stays.count:
        return None
    verb = "stays" if stays.count == 1 else "stay"
    states = (
        state_word(stays.states[0][0])
        if len(stays.states) == 1
        else f"as they are ({by_state(stays.states)})"
    )
    are = "is" if len(stays.tasks) == 1 else "are"
    fails = stays.has("failed", "upstream_failed")
    again = (
        "A run with such a task instance may fail again even if all that is cleared succeeds."
        if fails
        else "They do not run, even if all that is cleared succeeds."
    )
    return Finding(
        "downstream_stays",
        "warn",
        f"{count(stays.count, 'downstream task instance')} {verb} {states}: {named(stays.tasks)} {are} not "
        f"included {in_runs(stays.runs)}",
        f"They finished without success, and a clear of what lies upstream does not start them. {again}",
        stays.count,
        remedy="Include downstream, so that they run after it.",
        widen=INCLUDE_DOWNSTREAM,
        rows=True,
    )


def upstream_failed(facts: NeighbourFacts) -> Finding | None:
    """Cleared task instances that do not run, since something upstream of them has failed."""
    failed, by = facts.failed, facts.failed_by
    if not failed.count:
        return None
    becomes = "becomes" if failed.count == 1 else "become"
    are = "is" if len(by.tasks) == 1 else "are"
    cause = (
        f"{named(by.tasks)} {_have_ended(by)} {in_runs(by.runs)} and {are} not included"
        if by.count
        else "nothing upstream of them has succeeded"
    )
    return Finding(
        "upstream_failed",
        "warn",
        f"{count(failed.count, 'cleared task instance')} {becomes} upstream_failed at once: {cause}",
        f"It concerns {named(failed.tasks)}. The trigger rule says what a failure upstream means, and the "
        "state passes on to what lies further downstream. The scheduler sets it as soon as it looks at "
        "the run; nothing is executed.",
        failed.count,
        remedy="Include upstream, so that what failed runs again first.",
        widen=INCLUDE_UPSTREAM,
        rows=True,
    )


def upstream_skipped(facts: NeighbourFacts) -> Finding | None:
    """Cleared task instances that are skipped at once for what lies upstream of them."""
    skipped = facts.skipped
    if not skipped.count:
        return None
    are = "is" if skipped.count == 1 else "are"
    return Finding(
        "upstream_skipped",
        "info",
        f"{count(skipped.count, 'cleared task instance')} {are} skipped at once: {named(skipped.tasks)} "
        f"{in_runs(skipped.runs)}, by trigger rule",
        "What lies upstream of them and is not included has finished in a way to which their trigger rule "
        "answers with skipped. They do not run.",
        skipped.count,
        remedy="Include upstream, if it is to come out otherwise this time.",
        widen=INCLUDE_UPSTREAM,
        rows=True,
    )


def upstream_unfinished(facts: NeighbourFacts) -> Finding | None:
    """Cleared task instances that wait for something that is not cleared with them."""
    waiting, by = facts.waiting, facts.waiting_for
    if not waiting.count:
        return None
    waits = "waits" if waiting.count == 1 else "wait"
    return Finding(
        "upstream_unfinished",
        "info",
        f"{count(waiting.count, 'cleared task instance')} {waits} for what is unfinished upstream: "
        f"{named(by.tasks)} {in_runs(by.runs)}",
        f"Upstream of them and not included: {by_state(by.states)}. They start once those have finished.",
        waiting.count,
        rows=True,
    )


def _have_ended(by: Affected) -> str:
    states = [state_word(state) for state, _ in by.states]
    if states == ["failed"]:
        return "failed"
    return f"{'is' if len(by.tasks) == 1 else 'are'} {' or '.join(states)}"


CHECKS: tuple[Check[NeighbourFacts], ...] = (
    Check("stale_downstream", "downstream data that goes stale", stale_downstream, is_grave=True),
    Check("downstream_stays", "downstream task instances that stay failed or skipped", downstream_stays),
    Check("upstream_failed", "failures upstream that are not included", upstream_failed),
    Check("upstream_skipped", "what upstream makes the scheduler skip", upstream_skipped),
    Check("upstream_unfinished", "unfinished task instances upstream", upstream_unfinished),
)
