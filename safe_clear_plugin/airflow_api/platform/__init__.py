"""The metadata database, Airflow's configuration, and which versions are supported."""
