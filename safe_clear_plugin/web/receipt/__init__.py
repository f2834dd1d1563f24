"""The page of a plan that was confirmed, and the page of its undo."""
