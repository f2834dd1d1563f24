"""Rules and values of a clear: no Airflow, no SQL, no clock."""
