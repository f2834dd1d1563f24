"""The documentation, as pages beside what it explains."""
