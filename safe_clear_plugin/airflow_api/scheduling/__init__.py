"""The rules of Airflow's scheduler for dag runs and task instances."""
