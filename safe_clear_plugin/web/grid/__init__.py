"""The grid of a plan."""
