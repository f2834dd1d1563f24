"""What a clear is, in plain values: no Airflow, no SQL, no clock."""
