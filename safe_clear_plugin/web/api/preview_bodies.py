"""The body of a preview that a tab or the switches of a plan request."""

from __future__ import annotations

from pydantic import Field

from safe_clear_plugin.core.selection import Selection
from safe_clear_plugin.web.api.bodies import SelectionRequest
from safe_clear_plugin.web.api.types import Maybe, Reason, Request, Word


class PlanOfSwitches(Request):
    """The plan whose switches changed, for a selection that its page does not repeat."""

    plan: Word


class PreviewRequest(SelectionRequest):
    """A selection, as changed by the switches of a plan's page."""

    only_failed: bool = Field(
        False, description="Only failed and upstream_failed task instances, with setups and teardowns."
    )
    plan: Maybe[Word] = Field(None, description="A plan that stands for the selection beside the switches.")
    reason: Maybe[Reason] = Field(None, description="The reason that the confirmation starts with.")

    def selection(self) -> Selection:
        """Return the selection to preview."""
        found = super().selection()
        return found.only_failed(wanted=True) if self.only_failed else found
