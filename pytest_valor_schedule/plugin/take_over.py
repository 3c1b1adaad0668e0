"""Hand a run over before anything of the project is imported: a session collects it elsewhere.

What the session prints is shown here as it is printed, so it looks as if it were this pytest; which
ends without having loaded a conftest.py, and before other plugins begin.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest

from pytest_valor_schedule import env
from pytest_valor_schedule.plugin.process_role import (
    ProcessStart,
    machine_has_settings,
    may_be_scheduled,
)

_SHOWS_SOMETHING = (
    *("help", "version", "markers", "showfixtures", "show_fixtures_per_test", "cacheshow"),
    *("collectonly", "setupplan", "setuponly", "usepdb", "trace", "looponfail"),
)
"""The options of runs that are for the terminal; whether they can be handed over is said later."""


def take_over(config: pytest.Config, start: ProcessStart) -> int | None:
    """Hand over the run of this process, if it asks for that and a session can be had.

    Args:
        config: pytest's, of which only the early options are known.
        start: What this pytest was started with.

    Returns:
        The exit code of this process; None if it goes on.
    """
    options: argparse.Namespace = config.known_args_namespace
    is_explicit = bool(options.schedule or options.schedule_wait)
    if not may_be_scheduled(config, start.environment, is_explicit=is_explicit):
        return None
    if not _is_command(config):
        return None
    if start.instructions is not None or {env.JOB_ID_VARIABLE, env.DIRECT_VARIABLE} & {*os.environ}:
        return None
    if any(getattr(options, name, None) for name in _SHOWS_SOMETHING):
        return None
    if not machine_has_settings(start.environment, "VALOR_SCHEDULE_SESSIONS"):
        return None  # as almost always, and without an import
    from pytest_valor_schedule.plugin import session_view

    return session_view.run(config, start.environment)


def _is_command(config: pytest.Config) -> bool:
    """Return whether this process is a command `pytest` and nothing more, so that it may end."""
    words = tuple(map(str, config.invocation_params.args))
    program = Path(sys.argv[0])
    names = ("pytest", "py.test", "pytest.exe")
    is_pytest = program.name in names or program.parts[-2:] == ("pytest", "__main__.py")
    return is_pytest and words == tuple(sys.argv[1:]) and not config.invocation_params.plugins
