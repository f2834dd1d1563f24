"""The grid of a plan as plain values."""
