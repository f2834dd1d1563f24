"""Changes to a selection that a finding can suggest, each with the text of its button."""

from __future__ import annotations

INCLUDE_DOWNSTREAM = "include_downstream"
INCLUDE_UPSTREAM = "include_upstream"
INCLUDE_SETUPS = "include_setups"
RUN_ON_LATEST_VERSION = "run_on_latest_version"
FAILED_AND_SKIPPED = "failed_and_skipped"

SUGGESTED_CHANGES = {
    INCLUDE_DOWNSTREAM: "Preview with downstream",
    INCLUDE_UPSTREAM: "Preview with upstream",
    INCLUDE_SETUPS: "Preview with setups and teardowns",
    RUN_ON_LATEST_VERSION: "Preview on the latest version",
    FAILED_AND_SKIPPED: "Preview what failed and what is skipped",
}
"""The button for each field of the selection that a new plan would switch on."""
