"""What was tried and what was found, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.outcomes.facts import Facts
from tests.outcomes.judge import Fault, Verdict
from tests.outcomes.play import Played
from tests.outcomes.shapes import Example, Run


def describe(played: Played, facts: Facts, faults: Sequence[Fault]) -> str:
    """Return an example with what is wrong about it, short enough to be read and to be played again."""
    example = played.example
    lines = [f"--- {example.name}: {', '.join(example.features) or 'plain'}"]
    lines += _dag("DAG", example.before.statements(), example.before.options)
    if example.after != example.before:
        lines += _dag("DAG now", example.after.statements(), example.after.options)
    lines += [f"  {_run(run)}" for run in example.runs]
    asked = ", ".join(f"{name}={value!r}" for name, value in example.selection.items())
    lines.append(f"  clear: {asked}" + (", of a paused DAG" if example.paused else ""))
    for (run_id, task_id, index), row in sorted(facts.plan.items()):
        name = task_id if index < 0 else f"{task_id}[{index}]"
        came = facts.after.get((run_id, task_id, index))
        how = ("ran, " if facts.ran((run_id, task_id, index)) else "") + (
            str(came.state) if came else "absent"
        )
        foreseen = f"{row.effect} -> {row.outcome} {row.reason or ''}".rstrip()
        lines.append(f"  plan: {run_id} {name} {foreseen}; came: {how}")
    for run_id, run in sorted(facts.run_plan.items()):
        came = facts.runs_after.get(run_id)
        lines.append(f"  plan: {run_id} -> {run.outcome} {run.reason or ''}".rstrip() + f"; came: {came}")
    lines += [f"  FAULT {fault.code}: {fault.where}: {fault.text}" for fault in faults]
    return "\n".join(lines)


def _dag(title: str, statements, options) -> list[str]:
    more = f" with {dict(options)}" if options else ""
    return [f"  {title}{more}:", *(f"    {line}" for line in statements)]


def _run(run: Run) -> str:
    states = ", ".join(
        f"{task_id}{f'[{index}]' if index >= 0 else ''} {state}" for (task_id, index), state in run.states
    )
    decided = "".join(f"; {task_id} decided {list(ids)}" for task_id, ids in run.decisions)
    return f"{run.id} {run.kind} {run.state}{' of the DAG now' if run.on_new else ''}: {states}{decided}"


def summary(
    verdicts: Sequence[tuple[Example, Verdict]], refused: Sequence[Played], known: Counter[str]
) -> str:
    """Return the counts."""
    outcomes = sum((verdict.outcomes for _, verdict in verdicts), Counter())
    runs = sum((verdict.run_outcomes for _, verdict in verdicts), Counter())
    faults = Counter(fault.code for _, verdict in verdicts for fault in verdict.faults)
    excused = sum(verdict.excused for _, verdict in verdicts)
    own_life = sum(verdict.own_life for _, verdict in verdicts)
    features = Counter(feature for example, _ in verdicts for feature in example.features)
    return "\n".join(
        (
            f"examples: {len(verdicts)}, refused plans: {len(refused)}",
            f"task instances: {_counts(outcomes)}",
            f"dag runs: {_counts(runs)}",
            f"behind one that ended otherwise than in success: {excused}; going on by themselves: {own_life}",
            f"drawn: {_counts(features)}",
            f"faults: {_counts(faults) or 'none'}",
            f"known, not counted as faults: {_counts(known) or 'none'}",
        )
    )


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counter.most_common())
