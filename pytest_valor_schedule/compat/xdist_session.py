"""Make xdist's controller of a session that has collected, and xdist's worker of a fork of it.

Checked with pytest-xdist 3.6 to 3.8, execnet 2.1 and pytest 8.3 to 9.2. `missing_part` tells where
something is not as it was there; such a session is not to be forked.
"""

from __future__ import annotations

import inspect
import os
import platform
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

_FURTHER = ("tx", "px", "rsyncdir")
_MODES = ("load", "worksteal", "loadscope", "loadfile", "loadgroup")


def missing_part() -> str | None:
    """Return what pytest-xdist or execnet do not have any more that is needed here."""
    try:
        import execnet.gateway_base as base
        import xdist.dsession  # type: ignore[import-untyped]
        import xdist.remote  # type: ignore[import-untyped]

        interactor = xdist.remote.WorkerInteractor
        parts = (
            *((base.WorkerGateway, name) for name in ("executetask", "_terminate_execution")),
            *((base.WorkerGateway, name) for name in ("_local_schedulexec", "_initreceive")),
            *((base, name) for name in ("Popen2IO", "MainThreadOnlyExecModel", "loads_internal")),
            *((base, name) for name in ("MAIN_THREAD_ONLY_DEADLOCK_TEXT",)),
            *((interactor, name) for name in ("sendevent", "pytest_runtestloop")),
            *((xdist.remote, name) for name in ("setup_config",)),
            *((xdist.dsession.DSession, name) for name in ("pytest_runtestloop", "loop_once")),
        )
        absent = next((name for owner, name in parts if not hasattr(owner, name)), None)
        names = list(inspect.signature(interactor.__init__).parameters)
    except (ImportError, AttributeError) as error:
        return str(error)
    return absent if names[1:] == ["config", "channel"] else "WorkerInteractor(config, channel)"


def has_other_nodes(config: pytest.Config) -> bool:
    """Return whether the user names machines or interpreters, or a mode that we do not know."""
    given = config.known_args_namespace
    is_other = any(getattr(given, name, None) for name in _FURTHER)
    return is_other or distribution(config) not in _MODES


def distribution(config: pytest.Config) -> str:
    """Return the mode that the user asked for, which a session without workers was not given."""
    given = config.known_args_namespace
    if getattr(given, "distload", False):
        return "load"
    names = (str(getattr(each, "dist", "no")) for each in (config.option, given))
    return next((name for name in names if name != "no"), "load")


def distribute(config: pytest.Config, workers: int) -> None:
    """Set what xdist sets for `-n`, and register what runs the session on workers."""
    from xdist.dsession import DSession

    option = config.option
    option.dist = distribution(config)
    option.numprocesses, option.maxprocesses = workers, None
    option.tx = ["popen"] * workers
    config.pluginmanager.register(DSession(config), "dsession")
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.showfspath = False


def call(config: pytest.Config, hook: str, others: Collection[object], /, **values: Any) -> Any:
    """Call a hook of all plugins but some others, which have had it before."""
    return config.pluginmanager.subset_hook_caller(hook, others)(**values)


def import_for_workers() -> str:
    """Import what workers need once, before they are forked; return the file that starts one."""
    import xdist.remote

    from pytest_valor_schedule.compat import worker_gateway  # noqa: F401

    platform.platform()  # which xdist asks, and which is then known
    return inspect.getsourcefile(xdist.remote) or ""


def set_identity(config: pytest.Config, workerinput: Mapping[str, Any], basetemp: Any) -> None:
    """Set in a worker what xdist sets before its session begins."""
    import xdist.remote

    os.environ["PYTEST_XDIST_TESTRUNUID"] = workerinput["testrunuid"]
    os.environ["PYTEST_XDIST_WORKER"] = workerinput["workerid"]
    os.environ["PYTEST_XDIST_WORKER_COUNT"] = str(workerinput["workercount"])
    config.option.dist = distribution(config)
    xdist.remote.setup_config(config, basetemp)
    parser: Any = config._parser
    parser.prog = Path(workerinput["mainargv"][0]).name
    worker: Any = config
    worker.workerinput, worker.workeroutput = workerinput, {}


def register_interactor(config: pytest.Config, channel: Any) -> None:
    """Register what tells the controller of the worker's session."""
    import xdist.remote

    module: Any = xdist.remote
    module.interactor = module.WorkerInteractor(config, channel)
