"""Leases: the driver that works on each plan."""
