"""Queries behind the findings of a plan."""
