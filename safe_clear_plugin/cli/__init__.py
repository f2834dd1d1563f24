"""The command line: it speaks the JSON of an api-server, and needs neither Airflow nor a database."""
