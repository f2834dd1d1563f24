"""Plans as records: written, read, listed, removed."""
