"""Makes plans: from a selection, or from another plan."""
