"""From a selection to a stored plan, and from one plan to the next."""
