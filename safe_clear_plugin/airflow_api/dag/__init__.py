"""DAGs and their versions: tasks, dependencies, outlets."""
