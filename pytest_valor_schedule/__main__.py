"""`python -m pytest_valor_schedule` is `valor-schedule`."""

from __future__ import annotations

import sys

from pytest_valor_schedule.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
