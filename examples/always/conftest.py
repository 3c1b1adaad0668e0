"""What ini values cannot say: a conftest.py may decide by what is about to run."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Let a run of failed tests go before the others."""
    if config.getoption("lf", False) and config.getoption("priority", "") is None:
        config.option.priority = "high"
