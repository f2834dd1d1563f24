"""The page of a plan: findings, task instances, confirmation."""
