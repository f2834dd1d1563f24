"""What `[database] sql_alchemy_connect_args` names."""

from __future__ import annotations

NOT_PREPARED = {"prepare_threshold": None}
"""For psycopg 3 behind a pgbouncer that does not follow prepared statements."""
