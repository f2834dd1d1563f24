"""The page on which a selection is made."""
