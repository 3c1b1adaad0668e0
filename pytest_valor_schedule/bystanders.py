"""Keeps other plugins from ending a session in which no test of theirs was run.

At the end of a session a plugin writes its report, and throws away what no test has used. Where
tests are only collected, or only some of them are run once more, that would replace the report of
the whole run, and throw away what is in use.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterable
from pathlib import Path

import pytest

_ENDS = ("pytest_sessionfinish", "pytest_terminal_summary")
_OURS = {"_pytest", "pytest", "xdist", "pytest_valor_schedule", "__main__", ""}
_OF_TESTS = {"syrupy", "inline_snapshot", "snapshottest", "pytest_snapshot", "testmon"}
"""Plugins that look at what the tests did in their own process."""
_STREAMS = ("report_log", "allure_report_dir")
"""The options of reports that are written while tests run: by the job, and by nobody else."""


def leave_streams(config: pytest.Config) -> None:
    """Let nobody here write a report that the job writes while its tests run."""
    for name in _STREAMS:
        if hasattr(config.option, name):
            setattr(config.option, name, None)


def leave_cache(config: pytest.Config) -> None:
    """Let --lf and its like not write down here what failed and what did not."""
    dismiss(config, ("lfplugin", "nfplugin", "stepwiseplugin"))


def dismiss(config: pytest.Config, names: Iterable[str]) -> None:
    """Unregister the plugins of these names that there are."""
    for name in names:
        if config.pluginmanager.has_plugin(name):
            config.pluginmanager.unregister(name=name)


def excuse(config: pytest.Config, *, shows_the_run: bool = False) -> None:
    """Have the session end without the installed plugins that have nothing to say of it.

    What belongs to the project is not excused: it may have something to tidy up.

    Args:
        config: pytest's. It is the last moment at which plugins may come and go.
        shows_the_run: Whether the reports of all tests are seen here, so that only those plugins
            do not know the run which look at more than reports.
    """
    manager = config.pluginmanager
    terminal = manager.get_plugin("terminalreporter")  # it may be a plugin's own
    packages = _OF_TESTS if shows_the_run else _installed(manager)
    absent = [each for each in manager.get_plugins() - {terminal} if _package(each) in packages]
    for name in _ENDS:  # pytest calls its hooks by this object, which has them as attributes
        setattr(config.hook, name, manager.subset_hook_caller(name, absent))


def _installed(manager: pytest.PytestPluginManager) -> set[str]:
    """Return the packages of the plugins that were installed, but for pytest's, xdist and ours."""
    found = {_package(plugin) for plugin, _ in manager.list_plugin_distinfo()}
    found |= {name for name in map(_package, manager.get_plugins()) if _is_in_site_packages(name)}
    return found - _OURS


def _is_in_site_packages(package: str) -> bool:
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return bool({"site-packages", "dist-packages"} & set(Path(file).parts))


def _package(plugin: object) -> str:
    named = "__name__" if isinstance(plugin, types.ModuleType) else "__module__"
    return str(getattr(plugin, named, "")).partition(".")[0]


_HEADING = re.compile(r"([=-])\1{9,} (.+) \1{9,}")
_OF_COVERAGE = "tests coverage"


def coverage(log: str) -> list[str]:
    """Return what pytest-cov has printed in a job, which measures nothing in a waiting pytest."""
    found: list[str] = []
    inside = False
    for line in log.splitlines():
        if heading := _HEADING.fullmatch(line):
            inside = heading[2] == _OF_COVERAGE
            found = [] if inside else found  # the last one is that of the whole job
        if inside:
            found.append(line)
    return found
