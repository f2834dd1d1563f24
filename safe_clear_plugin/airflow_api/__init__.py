"""The only place that imports Airflow's internals.

Everything here mirrors or calls a named Airflow function; what differs between supported Airflow
versions is decided here and nowhere else.
"""
