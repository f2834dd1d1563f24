"""What an operator should know before a clear: one module per area, listed in :mod:`.registry`."""
