"""Keep other plugins from ending a session in which they have not seen the run.

At the end of a session a plugin writes its report, and throws away what no test has used. Where
tests are only collected, or only some of them are run once more, that would replace the report of
the whole run, and throw away what is in use.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Collection, Iterable
from pathlib import Path

import pytest

_ENDS = ("pytest_sessionfinish", "pytest_terminal_summary")
_OURS = {"_pytest", "pytest", "xdist", "pytest_valor_schedule", "__main__", ""}
_STREAMS = ("report_log", "allure_report_dir")
"""The options of reports that are written while tests run: by the job, and by nobody else."""


def leave_streams(config: pytest.Config) -> None:
    """Let nobody here write a report that the job writes while its tests run."""
    for name in _STREAMS:
        if hasattr(config.option, name):
            setattr(config.option, name, None)


def unregister_cache(config: pytest.Config) -> None:
    """Let --lf and its like not write down here what failed and what did not."""
    for name in ("lfplugin", "nfplugin", "stepwiseplugin"):
        if config.pluginmanager.has_plugin(name):
            config.pluginmanager.unregister(name=name)


def exclude(config: pytest.Config, hook: str, plugins: Iterable[object]) -> None:
    """Have a hook called for all plugins but these, of which further ones may not come."""
    # pytest calls its hooks by this object, which has them as attributes.
    caller = config.pluginmanager.subset_hook_caller(hook, list(plugins))
    setattr(config.hook, hook, caller)


def run_without_others(config: pytest.Config, keep: Collection[object]) -> None:
    """Have the rest of a session, from the run of its tests on, seen by no other plugin.

    Args:
        config: That of a pytest which has collected, and whose tests another one runs.
        keep: The plugins that see it, and report on it.
    """
    others = [each for each in config.pluginmanager.get_plugins() if each not in keep]
    for hook in ("pytest_runtestloop", *_ENDS):
        exclude(config, hook, others)


def end_without_reports(config: pytest.Config) -> None:
    """Have a session end without the installed plugins, whose reports are those of another round.

    What belongs to the project is not excluded: it may have something to tidy up.
    """
    manager = config.pluginmanager
    terminal = manager.get_plugin("terminalreporter")  # it may be a plugin's own
    packages = _installed(manager)
    absent = [each for each in manager.get_plugins() - {terminal} if _package(each) in packages]
    for hook in _ENDS:
        exclude(config, hook, absent)


def _installed(manager: pytest.PytestPluginManager) -> set[str]:
    """Return the packages of the plugins that were installed, but for pytest's, xdist and ours."""
    packages = {_package(plugin) for plugin, _ in manager.list_plugin_distinfo()}
    packages |= {
        name for name in map(_package, manager.get_plugins()) if _is_in_site_packages(name)
    }
    return packages - _OURS


def _is_in_site_packages(package: str) -> bool:
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return bool({"site-packages", "dist-packages"} & set(Path(file).parts))


def _package(plugin: object) -> str:
    attribute = "__name__" if isinstance(plugin, types.ModuleType) else "__module__"
    return str(getattr(plugin, attribute, "")).partition(".")[0]
