"""The verdicts of an undo, the restore, and its progress."""
