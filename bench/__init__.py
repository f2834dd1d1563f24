"""Measures Safe Clear beside Airflow's own ways and the database's limit: `make bench`."""
