"""Make a worker of xdist of a fork of a session that has collected."""

from __future__ import annotations

import atexit
import gc
import os
import random
import sys
import threading
from collections.abc import Mapping
from os import _exit  # as it was, because that of the module is replaced
from typing import Any, NoReturn

import pytest

from pytest_valor_schedule.compat import pytest_forks, xdist_session
from pytest_valor_schedule.in_job import fork_hazards, roles
from pytest_valor_schedule.in_job.collection_source import Kind
from pytest_valor_schedule.model.run_config import RunConfig
from pytest_valor_schedule.process import fork_check, fork_server, proctitle

_SESSION = "valor_schedule_session"
"""The name by which the plugin object of a pytest's role is registered."""

_GENERATORS = (
    ("numpy", "random"),
    ("faker.generator", "mod_random"),
    ("factory.random", "randgen"),
)
"""What has random numbers of its own: modules, and the objects in them."""


class SessionWorker:
    """A worker: what it will be while there is none, and then the worker itself.

    Args:
        session: It has collected.
    """

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._config = session.config
        self._session_file = ""
        self._random_state: tuple[Any, ...] | None = None
        self.message: fork_server.Message | None = None

    def prepare(self) -> None:
        """Do before the fork what need not be done in each worker."""
        self._session_file = xdist_session.import_for_workers()
        __import__(f"{roles.__package__}.worker_recorder")
        if fork_hazards.is_found(self._config, Kind.SEED):
            self._random_state = random.getstate()
        gc.freeze()  # what all have is not to be searched by each, which would copy it, too

    def begin(self) -> None:
        """Be a process of its own, as one that xdist has started."""
        assert self.message is not None
        request, (reply, stdin, stdout, stderr) = self.message
        os.dup2(stderr, 2)
        for handle in (reply, stderr):
            os.close(handle)
        _move_to(request["cwd"], request["environment"])
        if fork_hazards.is_found(self._config, Kind.OBJECTS):
            gc.unfreeze()
        pytest_forks.renew_capture(self._config)
        _begin_random(self._random_state)
        fork_check.program(request["words"])
        proctitle.show_as((sys.executable, *request["words"]), os.environ)
        self._meet_controller(stdin, stdout)

    def _meet_controller(self, stdin: int, stdout: int) -> None:
        from pytest_valor_schedule.compat.worker_gateway import WorkerGateway

        self._gateway = WorkerGateway(stdin, stdout, self._session_file)
        self._channel: Any = self._gateway.session_channel()
        self._instructions = self._channel.receive()
        pytest_forks.end_instead_of_returning(self._config, self._end)

    def run(self) -> object:
        """Be the worker that the controller wants, and run the tests that it sends."""
        workerinput, _, options, _ = self._instructions
        run_config = RunConfig.from_json(workerinput["valor_schedule"])
        self._leave_reports(run_config)
        pytest_forks.renew_basetemp(self._config, options.get("basetemp"))
        xdist_session.set_identity(self._config, workerinput, options.get("basetemp"))
        return self._run_session(self._register(run_config))

    def _leave_reports(self, run_config: RunConfig) -> None:
        """Leave to the controller what is told to the user."""
        pytest_forks.unregister_reports(self._config)
        if run_config.shows_workers:
            pytest_forks.renew_colours(self._config)
        else:  # the controller has shown what there was to warn of
            pytest_forks.forget_warnings(self._config)

    def _register(self, run_config: RunConfig) -> set[Any]:
        """Register what a worker has, and return the plugins that were there before."""
        config, manager = self._config, self._config.pluginmanager
        if manager.has_plugin(_SESSION):
            manager.unregister(name=_SESSION)
        others = manager.get_plugins()
        roles.prepare_worker(config, run_config)
        xdist_session.register_interactor(config, self._channel)
        manager.register(roles.worker(config, run_config), _SESSION)
        pytest_forks.order_as_configured(config, manager.get_plugins() - others)
        return others

    def _run_session(self, others: set[Any]) -> object:
        """Call what others have had already, and then run the loop of the worker."""
        config, session = self._config, self._session
        items = {"config": config, "items": session.items}
        xdist_session.call(config, "pytest_sessionstart", others, session=session)
        modify = "pytest_collection_modifyitems"
        xdist_session.call(config, modify, others, session=session, **items)
        xdist_session.call(config, "pytest_collection_finish", others, session=session)
        return xdist_session.call(config, "pytest_runtestloop", others, session=session)

    def _end(self, error: BaseException | None) -> NoReturn:
        """End as an interpreter does that has run to its end, but with nothing behind it."""
        try:
            self._gateway.finish(error)
            shutdown: Any = getattr(threading, "_shutdown", None)
            if shutdown is not None:
                shutdown()
            run_exit_functions: Any = getattr(atexit, "_run_exitfuncs", None)
            if run_exit_functions is not None:
                run_exit_functions()
        finally:
            for stream in (sys.stdout, sys.stderr):
                _flush(stream)
            _exit(0)


def _move_to(cwd: str, environment: Mapping[str, str]) -> None:
    """Have the folder and the variables that the controller has now."""
    os.chdir(cwd)
    os.environ.update(environment)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return


def _begin_random(state: tuple[Any, ...] | None) -> None:
    """Have random numbers as a started process has: its own, or those of the seed it sets."""
    if state is not None:
        random.setstate(state)  # Python has seeded its own after the fork
        return
    for module, name in _GENERATORS:
        generator: Any = getattr(sys.modules.get(module), name, None)
        if generator is not None:
            generator.seed()
