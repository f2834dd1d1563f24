"""What an undo can restore, restoring it, and how far it has come."""
