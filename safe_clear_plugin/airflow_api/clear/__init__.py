"""Clearing dag runs on a session of the caller's: locks, audit log, speedups."""
