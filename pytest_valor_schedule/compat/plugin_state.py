"""Know which plugins have a state that a fork would not have as a started worker has it.

A plugin of which nothing is known is believed to be one, where it has a hook that ends what another
one has begun, or where it has anything to do with workers.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

_OURS = {"_pytest", "pytest", "xdist", "pytest_valor_schedule"}
_KNOWN = {
    "_hypothesis_pytestplugin",  # writes statistics, of the tests of each process
    "anyio",
    "pytest_asyncio",
    "pytest_cov",  # where it does not measure; see `measures`
    "pytest_django",  # asks for the worker in fixtures
    "pytest_mock",
    "pytest_randomly",  # its seed is an option
    "pytest_timeout",
}
_BEGIN = ("pytest_configure", "pytest_sessionstart", "pytest_collection")
_FINISH = ("pytest_sessionfinish", "pytest_unconfigure")
_OF_WORKERS = ("pytest_configure_node", "pytest_testnodeready", "pytest_testnodedown")
_AROUND = ("pytest_runtestloop", "pytest_cmdline_main")
_HARMLESS = {"addinivalue_line"}


def measures(config: pytest.Config) -> bool:
    """Return whether pytest-cov measures, which it begins before anything is imported."""
    plugin: Any = config.pluginmanager.get_plugin("_cov")
    return plugin is not None and getattr(plugin, "cov_controller", True) is not None


def incompatible(plugins: Iterable[object]) -> list[str]:
    """Name those of some plugins that may need to be begun in each worker."""
    return sorted(
        {
            _file_of(plugin) or _module_name(plugin)
            for plugin in plugins
            if (_is_foreign_risk if _is_installed(plugin) else _is_own_risk)(plugin)
        }
    )


def unknown(config: pytest.Config) -> list[object]:
    """Return the plugins of which nothing is known, those of the project among them."""
    plugins = config.pluginmanager.get_plugins()
    return [each for each in plugins if _package(each) not in _OURS | _KNOWN]


def installed_files(plugins: Iterable[object]) -> list[Path]:
    """Return the files of those of some plugins that were installed."""
    return sorted({Path(_file_of(plugin)) for plugin in plugins if _is_installed(plugin)})


def _is_foreign_risk(plugin: object) -> bool:
    names = (*_FINISH, *_OF_WORKERS, *_AROUND)
    return any(hasattr(plugin, name) for name in names)


def _is_own_risk(plugin: object) -> bool:
    """Return whether a plugin of the project has a hook that ends what another one has begun."""
    begins = any(_does_something(getattr(plugin, name, None)) for name in _BEGIN)
    finishes = any(hasattr(plugin, name) for name in _FINISH)
    return (begins and finishes) or any(hasattr(plugin, name) for name in _AROUND)


def _does_something(hook: object) -> bool:
    """Return whether a hook does more than to declare markers."""
    code = getattr(hook, "__code__", None)
    return hook is not None and (code is None or not set(code.co_names) <= _HARMLESS)


def _is_installed(plugin: object) -> bool:
    return bool({"site-packages", "dist-packages"} & set(Path(_file_of(plugin)).parts))


def _package(plugin: object) -> str:
    return _module_name(plugin).partition(".")[0]


def _module_name(plugin: object) -> str:
    name = plugin.__name__ if isinstance(plugin, types.ModuleType) else type(plugin).__module__
    return str(name)


def _file_of(plugin: object) -> str:
    module = plugin if isinstance(plugin, types.ModuleType) else None
    module = module or sys.modules.get(_module_name(plugin))
    return str(getattr(module, "__file__", None) or "")
