"""Change sets: their records, and whose turn it is within one."""
