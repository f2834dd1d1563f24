"""The history, for people and for programs."""
