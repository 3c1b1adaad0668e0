"""Declare the options of pytest and their ini twins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

OPTIONS: Mapping[str, tuple[str | None, str]] = {
    "schedule": (
        None,
        "Collect the tests, hand the run over to the background queue, and return at once",
    ),
    "schedule_wait": (
        None,
        "As --schedule, but wait for the end of the run and return its exit code",
    ),
    "priority": ("{low,normal,high}", "How urgent the scheduled run is. Default: normal."),
    "max_workers": (
        "N",
        "The most pytest-xdist workers that the scheduled run may have. Default: 2.",
    ),
    "timeout_minutes": (
        "N",
        "Minutes after its start at which the scheduled run is ended. Default: 10.",
    ),
    "notify": ("CHAT", "Whom to tell about the end: a Telegram chat id, or an Apprise address"),
    "confirm_failures": (
        "N",
        "Run what failed again at the end, alone, up to N times, to find what is flaky",
    ),
}
"""Of each setting that is also an option of ours: its metavar, None for a flag, and its help."""
_INI = {
    **{name: f"default of --{name.replace('_', '-')}" for name in OPTIONS},
    "schedule": "hand every run of this project over to the background queue: true or false",
    "schedule_wait": "wait for the end of a scheduled run: true or false",
    "test_timeout": "seconds after which a single test of a job is ended; none by default",
    "stall_minutes": "minutes without any event after which a job is ended; default: 5, 0: never",
    "learn": "which runs teach how long tests take: jobs (default), or all that are run here",
    "order": "which tests of a job go first: longest, failed-first or collected",
    "fork_workers": "fork the workers of a job where that is possible: true (default) or false",
    "inline": "whether a job of one worker runs without pytest-xdist: auto (default) or never",
    "flaky": "what a test that failed and then passed makes of the run: fail (default) or pass",
    "log_mb": "MiB of a job's output that are kept, head and tail; default: 50",
}
_INI_TYPE: Any = str | bool | int | float if pytest.version_tuple >= (9, 2) else None
"""Text, and in TOML what TOML has for it."""


def add_options(parser: pytest.Parser) -> None:
    """Add the options and their ini twins."""
    group = parser.getgroup("valor-schedule", "one test queue for the machine")
    for name, (metavar, text) in OPTIONS.items():
        kind = {"metavar": metavar} if metavar else {"action": "store_true", "default": None}
        group.addoption(f"--{name.replace('_', '-')}", help=text, **kind)
    for name, text in _INI.items():
        help_text = f"valor-schedule: {text}"
        parser.addini(f"valor_schedule_{name}", help_text, type=_INI_TYPE, default=None)
