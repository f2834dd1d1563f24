"""Undoing a clear: its preview and its batches."""
