"""Touch private parts of pytest, to make what xdist's workers are of forks of a session.

Checked with pytest 8.3 to 9.2.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NoReturn


def renew_capture(config: Any) -> None:
    """Give a fork files of its own to capture into, and neither input nor output.

    The objects stay the same; what they write to is another file.
    """
    devnull = os.open(os.devnull, os.O_RDWR)
    for saved in (0, 1, *(part.targetfd_save for part in _capture_parts(config, 0, 1))):
        os.dup2(devnull, saved, inheritable=saved < 2)
    os.close(devnull)
    for part in _capture_parts(config, 1, 2):
        with tempfile.TemporaryFile(buffering=0) as file:
            os.dup2(file.fileno(), part.tmpfile.fileno(), inheritable=False)
        if part._state == "started":
            os.dup2(part.tmpfile.fileno(), part.targetfd)


def _capture_parts(config: Any, *handles: int) -> list[Any]:
    """Return what captures descriptors; nothing where pytest is told to capture otherwise."""
    manager = config.pluginmanager.get_plugin("capturemanager")
    capture = getattr(manager, "_global_capturing", None)
    parts = (getattr(capture, name, None) for name in ("in_", "out", "err"))
    return [part for part in parts if getattr(part, "targetfd", None) in handles]


def capture_handles(config: Any) -> set[int]:
    """Return the descriptors of the files into which pytest captures."""
    return {part.tmpfile.fileno() for part in _capture_parts(config, 0, 1, 2)}


def log_files(config: Any) -> set[str]:
    """Return the file into which pytest writes what is logged, as --log-file names it."""
    plugin = config.pluginmanager.get_plugin("logging-plugin")
    name = getattr(getattr(plugin, "log_file_handler", None), "baseFilename", os.devnull)
    return {os.fspath(name)}


def can_renew_capture(config: Any) -> bool:
    """Return whether what captures is as it was where this was checked."""
    names = ("targetfd_save", "tmpfile", "_state")
    parts = _capture_parts(config, 0, 1, 2)
    manager = config.pluginmanager.get_plugin("capturemanager")
    is_known = manager is None or hasattr(manager, "_global_capturing")
    return is_known and all(hasattr(part, name) for part in parts for name in names)


def has_basetemp(config: Any) -> bool:
    """Return whether there is a folder for temporary files already."""
    return getattr(getattr(config, "_tmp_path_factory", None), "_basetemp", None) is not None


def renew_basetemp(config: Any, folder: str | None) -> None:
    """Have temporary files in a folder that is to be made, as by --basetemp."""
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is not None and folder is not None:
        factory._given_basetemp, factory._basetemp = Path(folder).absolute(), None


def unregister_reports(config: Any) -> None:
    """Take out what pytest has in no worker: the report in JUnit's format, the progress."""
    for name in ("terminalprogress", "terminalprogress-plugin"):
        if config.pluginmanager.has_plugin(name):
            config.pluginmanager.unregister(name=name)
    with contextlib.suppress(ImportError, KeyError):
        from _pytest.junitxml import xml_key

        config.pluginmanager.unregister(config.stash[xml_key])
        del config.stash[xml_key]


def end_instead_of_returning(config: Any, end: Callable[[BaseException | None], NoReturn]) -> None:
    """Have a function called where `pytest.main` would return.

    It is called with the exception that `pytest.main` would raise, or None. Nothing that stands
    behind the call of `pytest.main` is to run in a fork.
    """
    unconfigure = config._ensure_unconfigure
    calls = iter(("by the session", "by main"))

    def unconfigure_and_end() -> None:
        call = next(calls, None)
        try:
            unconfigure()
        finally:
            if call != "by the session":
                end(sys.exc_info()[1])

    config._ensure_unconfigure = unconfigure_and_end


def order_as_configured(config: Any, plugins: Collection[object]) -> None:
    """Have the hooks of plugins called as if they had been registered before pytest's own were.

    Of two plugins the one that was registered later is called first, and what pytest has registered
    when it was configured changes reports: it lets a test fail of which a subtest has failed.
    """
    names = [id(plugin) for _, plugin in config.pluginmanager.list_name_plugin()]
    start = names.index(id(config.pluginmanager.get_plugin("session")))
    later = set(names[start + 1 :]) - set(map(id, plugins))
    for plugin in sorted(plugins, key=lambda each: names.index(id(each))):
        for caller in config.pluginmanager.get_hookcallers(plugin):
            _put_before(caller._hookimpls, plugin, later)


def _put_before(implementations: list[Any], plugin: object, later: Collection[int]) -> None:
    """Put a plugin's part of a hook before those of others that are as urgent."""
    own = next(each for each in implementations if each.plugin is plugin)
    for place, each in enumerate(implementations[: implementations.index(own)]):
        if id(each.plugin) in later and _urgency(each) == _urgency(own):
            implementations.remove(own)
            implementations.insert(place, own)
            break


def _urgency(implementation: Any) -> tuple[bool, ...]:
    is_wrapper = implementation.hookwrapper or getattr(implementation, "wrapper", False)
    return is_wrapper, implementation.tryfirst, implementation.trylast


def renew_colours(config: Any) -> None:
    """Have a worker that prints to nobody put no colours into what it reports."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    with contextlib.suppress(ImportError, AttributeError):
        from _pytest.config import create_terminal_writer

        reporter._tw.hasmarkup = create_terminal_writer(config, sys.stdout).hasmarkup


def forget_warnings(config: Any) -> None:
    """Let nobody who is registered from now on hear of the warnings that there were."""
    with contextlib.suppress(AttributeError):
        config.hook.pytest_warning_recorded._call_history = []


def drop_warnings_of_collection(config: Any) -> None:
    """Have the terminal not know of them, where each worker will tell them."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    history = getattr(config.hook.pytest_warning_recorded, "_call_history", None) or []
    known = getattr(reporter, "stats", {}).get("warnings", [])
    if len(known) == len(history):
        phases = [call[0].get("when") for call in history]
        known[:] = [each for each, when in zip(known, phases, strict=True) if when != "collect"]
