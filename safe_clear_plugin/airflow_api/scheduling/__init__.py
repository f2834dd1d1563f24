"""What Airflow's scheduler does with dag runs and task instances."""
