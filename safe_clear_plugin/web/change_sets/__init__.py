"""The pages of a change set."""
