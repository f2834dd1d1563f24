"""Queries from a selection to dag runs and task instances."""
