"""Findings for an operator before a clear: one module per area, listed in :mod:`.registry`."""
