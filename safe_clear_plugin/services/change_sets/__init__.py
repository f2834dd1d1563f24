"""Change sets: making one, and confirming, stopping and undoing its plans together."""
