"""The start page, which lists failures by DAG."""
