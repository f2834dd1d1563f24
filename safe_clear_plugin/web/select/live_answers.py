"""Answers of the selection form: facts in words, for the page and its script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from safe_clear_plugin.core.formats import count
from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.core.states import NO_STATE
from safe_clear_plugin.services.live_preview import selection_preview
from safe_clear_plugin.services.live_preview.model import SelectionPreview
from safe_clear_plugin.web.api.types import available_timezones
from safe_clear_plugin.web.app import links, state_labels
from safe_clear_plugin.web.select.date_range import Range, known_zones, on_clock, zone_name
from safe_clear_plugin.web.select.draft import Draft
from safe_clear_plugin.web.select.field_problems import by_field, by_section
from safe_clear_plugin.web.select.form import UTC, format_for_input
from safe_clear_plugin.web.select.regex_chips import Chip, group_chips

MANY_TASKS = 30
"""Tasks from which on groups without a marked one are folded."""
CHIPS_AT_ONCE = 12
"""Groups that are offered in sight; the others are folded behind their number."""


@dataclass(frozen=True, slots=True)
class Since:
    """The quick range that begins after the last successful dag run, or why there is none."""

    date_from: str = ""
    date_to: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Answers:
    """Everything that the templates of the answers need."""

    found: SelectionPreview
    selection: Selection
    problems: dict[str, list[str]]
    """The problems by section: ``dag``, ``tasks``, ``when``, ``state``."""
    field_errors: Mapping[str, Sequence[str]]
    """Those that a field is to blame for, by field."""
    zone: ZoneInfo
    browser_zone: str = ""
    dag_url: str = ""
    chips: Sequence[Chip] = field(default=())
    readings: Sequence[str] = ()
    """The reading of dates that can mean two moments."""
    chips_at_once: int = CHIPS_AT_ONCE

    def aside(self, section: str) -> list[str]:
        """Return the problems of a section that belong to none of its fields."""
        at_fields = {text for texts in self.field_errors.values() for text in texts}
        return [text for text in self.problems[section] if text not in at_fields]

    @property
    def swaps(self) -> dict[str, str]:
        """The fields whose error is gone once their two dates change places, each with its partner."""
        edges = (("date_from", "date_to"), ("failed_from", "failed_to"))
        pairs = {end: start for start, end in edges}
        return {
            end: start
            for end, start in pairs.items()
            if (first := getattr(self.selection, start))
            and (last := getattr(self.selection, end))
            and first > last
        }

    @property
    def dag_is_chosen(self) -> bool:
        """Whether there is a DAG to speak of."""
        return self.found.tree is not None

    @property
    def has_range(self) -> bool:
        """Whether dates or runs are given that can be read."""
        return self.found.scope is not None

    @property
    def range(self) -> Range | None:
        """The range of dates; ``None`` when the runs are named and not held to dates."""
        scope = self.found.scope
        by_date = scope is not None and (scope.is_by_date or self.selection.has_dates)
        if scope is None or not by_date:
            return None
        if not self.selection.is_by_partition_date:
            return Range(scope.date_from, scope.date_to, self.zone, self.zone.key)
        return Range(
            scope.date_from, scope.date_to, self.found.partition_zone, self.zone_read, "the timetable's"
        )

    @property
    def zone_read(self) -> str:
        """The zone in which the dates that are typed are read."""
        if not self.selection.is_by_partition_date:
            return self.zone.key
        return zone_name(self.found.partition_zone)

    @property
    def schedule_said(self) -> str:
        """When the DAG runs by itself, as Airflow describes it."""
        dag = self.found.dag
        assert dag is not None
        if dag.schedule_in_words:
            return dag.schedule_in_words[0].lower() + dag.schedule_in_words[1:]
        return dag.schedule if dag.schedule not in ("", "None") else "without a schedule"

    @property
    def folds(self) -> bool:
        """Whether the DAG has so many tasks that groups without a marked one are folded."""
        return self.found.tree is not None and self.found.tree.count() > MANY_TASKS

    @property
    def tasks_said(self) -> str:
        """The number of tasks that match, and of those that are included with them."""
        tree = self.found.tree
        assert tree is not None
        total, matched, along = tree.count(), tree.count("matched"), tree.count("along")
        excluded = tree.count("excluded")
        but = f", {excluded:,} excluded" if excluded else ""
        if self.selection.is_by_failure and not self.selection.names_tasks:
            return f"Those of {count(total - excluded, 'task')} that failed in this time{but}"
        if not self.selection.names_tasks:
            return f"Whole runs: {'all ' if not excluded else ''}{count(total - excluded, 'task')}{but}"
        more = f"; {along:,} more {'is' if along == 1 else 'are'} included" if along else ""
        return f"{matched:,} of {count(total, 'task')} {'matches' if matched == 1 else 'match'}{more}{but}"

    @property
    def runs_said(self) -> str:
        """The number of dag runs in the range."""
        number = self.found.dag_runs
        if number is None:
            return "Too many dag runs to count here"
        return count(number, "dag run") if number else "No dag runs"

    @property
    def states(self) -> list[state_labels.Share]:
        """The task instances that would be cleared, by state."""
        counts = self.found.counts
        if counts is None:
            return []
        return state_labels.shares_now(
            (None if state == NO_STATE else state, number) for state, number in counts.found.states.items()
        )

    def added(self, name: str) -> str:
        """Say what ticking one of the directions would add."""
        counts = self.found.counts
        if counts is None or name not in counts.added:
            return ""
        more = counts.added[name]
        if more is None:
            return "Not counted here"
        if not more.total:
            return "Nothing to add"
        what = f"+ {count(more.total, 'task instance')}"
        return f"{what} ({more.succeeded:,} succeeded)" if more.succeeded else what

    @property
    def running(self) -> list[tuple[str, int]]:
        """The running task instances that match, by task, most first."""
        counts = self.found.counts
        return counts.found.running.most_common() if counts else []

    @property
    def bar(self) -> str:
        """The whole in one line."""
        counts = self.found.counts
        if counts is None:
            return self._no_counts
        if not counts.found.total:
            none = "No task instances match"
            left = counts.found.left_out
            return f"{none}; {left:,} running left out" if left else none
        text = count(counts.found.total, "task instance")
        if counts.cleared_runs is not None:
            text += f" in {count(counts.cleared_runs, 'run')}"
        text += f", {counts.found.left_out:,} left out" if counts.found.left_out else ""
        return f"{text}, plus {self.along}" if self.along else text

    @property
    def along(self) -> str:
        """The relatives that are included with single task instances: only a preview counts them."""
        selection = self.selection
        if not selection.is_by_failure:
            return ""
        asked = (("upstream", selection.include_upstream), ("downstream", selection.include_downstream))
        directions = " and ".join(word for word, is_asked in asked if is_asked)
        along = [f"what is {directions}" if directions else "", "setups" if selection.adds_setups else ""]
        return " and ".join(filter(None, along))

    @property
    def _no_counts(self) -> str:
        wrong = next((texts[0] for texts in self.problems.values() if texts), "")
        if not self.selection.dag_id:
            return "Choose a Dag"
        if wrong or self.found.not_counted:
            return wrong or self.found.not_counted
        return "Choose dates or run ids to see the count"

    @property
    def counted(self) -> bool:
        """Whether the bar says numbers."""
        return self.found.counts is not None

    @property
    def since(self) -> Since:
        """The quick range since the last success, as it is typed in the chosen zone."""
        success, after = self.found.since
        if success is None:
            return Since(reason="No dag run has succeeded yet.")
        if after is None:
            return Since(reason="The last dag run succeeded.")
        now = self.found.now.replace(second=0, microsecond=0)
        if self.selection.is_by_partition_date:
            zone = self.found.partition_zone
            first, last = (on_clock(moment, zone) for moment in (after, max(now, after)))
            return Since(format_for_input(first, UTC, end=False), format_for_input(last, UTC, end=True))
        start = format_for_input(after, self.zone, end=False)
        return Since(start, format_for_input(max(now, after), self.zone, end=True))


def answer(draft: Draft, now: datetime) -> Answers:
    """Answer the fields filled in so far; fields that cannot be read are named and left aside."""
    selection = draft.selection
    zone, browser_zone = known_zones((selection.timezone, draft.browser_timezone), available_timezones())
    broken = {name: list(texts) for name, texts in draft.broken.items() if name}
    if not selection.dag_id:
        found = SelectionPreview(now)
        broken.pop("dag_id", None)
    else:
        found = selection_preview.preview_selection(selection, now, broken=frozenset(broken))
    return Answers(
        found=found,
        selection=selection,
        problems=by_section(broken, found.problems),
        field_errors=by_field(broken, found.problems),
        zone=ZoneInfo(zone or "UTC"),
        browser_zone=browser_zone,
        dag_url=links.airflow_url("dags", selection.dag_id),
        chips=group_chips(found.tree),
        readings=draft.readings,
    )
