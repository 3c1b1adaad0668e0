"""Keeps other plugins from ending a session in which no test of theirs was run.

At the end of a session a plugin writes its report, and throws away what no test has used. Where
tests are only collected, or only some of them are run once more, that would replace the report of
the whole run, and throw away what is in use.
"""

from __future__ import annotations

import re
import types
from pathlib import Path

import pytest

_ENDS = ("pytest_sessionfinish", "pytest_terminal_summary")
_OURS = ("_pytest", "xdist", "pytest_valor_schedule", "__main__")
_OF_TESTS = ("syrupy", "inline_snapshot", "snapshottest", "pytest_snapshot", "testmon")
"""Plugins that look at what the tests did in their own process."""
_STREAMS = ("report_log", "allure_report_dir")
"""The options of reports that are written while tests run: by the job, and by nobody else."""


def leave_streams(config: pytest.Config) -> None:
    """Let nobody here write a report that the job writes while its tests run."""
    for name in _STREAMS:
        if hasattr(config.option, name):
            setattr(config.option, name, None)


def excuse(config: pytest.Config, *, shows_the_run: bool = False) -> None:
    """Have the session end without the plugins that have nothing to say of it.

    Args:
        config: pytest's; later plugins are not excused.
        shows_the_run: Whether the reports of all tests are seen here, so that only those plugins
            do not know the run which look at more than reports.
    """
    absent = [
        plugin
        for plugin in config.pluginmanager.get_plugins()
        if (_module(plugin).partition(".")[0] in _OF_TESTS if shows_the_run else _foreign(plugin))
    ]
    for name in _ENDS:  # pytest calls its hooks by this object, which has them as attributes
        setattr(config.hook, name, config.pluginmanager.subset_hook_caller(name, absent))


def _foreign(plugin: object) -> bool:
    """Whether a plugin is neither pytest's, nor ours, nor a conftest.py, which may tidy up."""
    if isinstance(plugin, types.ModuleType) and Path(plugin.__file__ or "").name == "conftest.py":
        return False
    return _module(plugin).partition(".")[0] not in _OURS


def _module(plugin: object) -> str:
    if isinstance(plugin, types.ModuleType):
        return plugin.__name__
    return str(getattr(plugin, "__module__", ""))


_HEADING = re.compile(r"^(=+) (.+) (=+)$")
_LEAST_WIDTH = 40  # of a heading
_OWN_SECTIONS = re.compile(
    r"test session starts|FAILURES|ERRORS|X?PASSES|XFAILURES|warnings summary.*|slowest .*durations"
    r"|short test summary info|.* in \d+\.\d+s.*"
)


def sections(log: str) -> dict[str, list[str]]:
    """Return what a pytest has printed in sections that are not pytest's own: lines by title."""
    found: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for line in log.splitlines():
        heading = _HEADING.fullmatch(line)
        if heading and len(line) >= _LEAST_WIDTH and abs(len(heading[1]) - len(heading[3])) <= 1:
            lines = None
            if not _OWN_SECTIONS.fullmatch(heading[2]):
                lines = found[heading[2]] = []
        elif lines is not None:
            lines.append(line)
    return found
