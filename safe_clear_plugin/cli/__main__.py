"""``python -m safe_clear_plugin.cli``."""

from __future__ import annotations

import sys

from safe_clear_plugin.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
