"""Run a session that has collected on several workers, which are forks of it.

The process of the session becomes xdist's controller. Before that, while it has one thread, it
forks the *template*, which does nothing but fork workers when it is asked: at the beginning, and
for each worker that has died. So nothing is collected twice, and what goes over the pipes between
controller and workers is what pytest-xdist sends.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import traceback
import warnings
from collections.abc import Collection, Mapping, Sequence
from os import _exit  # as it was, because that of the module is replaced
from typing import Any

import pytest

from pytest_valor_schedule.compat import pytest_forks, xdist_session, xdist_workers
from pytest_valor_schedule.in_job import forked_workers, roles
from pytest_valor_schedule.in_job.controller_recorder import ControllerRecorder
from pytest_valor_schedule.in_job.plain_terminal import PlainTerminal
from pytest_valor_schedule.in_job.session_worker import SessionWorker
from pytest_valor_schedule.model.run_config import RunConfig
from pytest_valor_schedule.process import fork_server, proctitle
from pytest_valor_schedule.process.fork_client import ForkedChild, ForkedProcess

_END_SECONDS = 10.0  # for the template when nobody can ask it any more
_FAILED = 70  # EX_SOFTWARE of sysexits.h


def run_on_workers(
    session: pytest.Session,
    run_config: RunConfig,
    environment: Mapping[str, str],
    reports: Sequence[pytest.CollectReport] = (),
    ours: Collection[int] = (),
) -> object:
    """Run the tests of a session on workers that are forked from it.

    It is called in `pytest_runtestloop`, and returns there **in each worker too**, whose session
    then ends as that of any worker: behind the call there may be nothing that only the controller
    is to do. No worker returns from `pytest.main`.

    Args:
        session: It has collected, and has run no test; `fork_hazards` has nothing to say of it.
        run_config: From the runner.
        environment: The one that this pytest was started with.
        reports: What was skipped, or could not be collected.
        ours: Descriptors that no worker is to hold open.

    Returns:
        What the hook is to return.
    """
    if not run_config.shows_workers:
        _heed_collection_errors(session)
    worker = SessionWorker(session)
    template = _fork_template(worker, ours)
    if template is None:
        return worker.run()
    others = session.config.pluginmanager.get_plugins()
    recorder = _register(session.config, run_config, environment, template)
    recorder.take_collection(session, reports)
    return _control(session, others)


def _heed_collection_errors(session: pytest.Session) -> None:
    """Do what pytest's own loop begins with, and xdist's does not."""
    errors = session.testsfailed
    if errors and not session.config.option.continue_on_collection_errors:
        plural = "s" if errors != 1 else ""
        raise session.Interrupted(f"{errors} error{plural} during collection")


class Template:
    """The process that forks workers, as its parent sees it.

    Args:
        requests: The socket at which it listens.
        pid: Of a child of this process; None where it could not be forked.
    """

    def __init__(self, requests: socket.socket, pid: int | None) -> None:
        self._requests = requests
        self._process = None if pid is None else ForkedChild(pid)

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_setupnodes(self, config: pytest.Config) -> None:
        """Tell xdist who starts the workers, before it starts them."""
        xdist_workers.start_workers_by(config, self._start)

    def _start(
        self, command: Sequence[str], **pipes: Any
    ) -> ForkedProcess | subprocess.Popen[bytes]:
        """Return a fork, or a worker that is started and collects where there can be none."""
        with contextlib.suppress(OSError):
            return forked_workers.fork(self._requests, command)
        return subprocess.Popen(command, **pipes)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Have it end, which it does when nobody can ask it any more."""
        self._requests.close()
        if self._process is None:
            return
        try:
            self._process.wait(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _fork_template(worker: SessionWorker, ours: Collection[int]) -> Template | None:
    """Fork the template; return None in each worker that it forks."""
    worker.prepare()
    proctitle.place_of_command()  # once for all forks
    requests, theirs = socket.socketpair()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    pid = _fork()
    if pid != 0:
        theirs.close()
        return Template(requests, pid)
    try:
        requests.close()
        for handle in ours:
            os.close(handle)
        with theirs:
            worker.message = fork_server.serve(theirs)
        worker.begin()
    except BaseException:  # it must not go on as if it was the controller
        traceback.print_exc(file=sys.__stderr__)
        _exit(_FAILED)
    return None


def _fork() -> int | None:
    """Return what `os.fork` does; None where there can be no further process."""
    with warnings.catch_warnings():  # of a thread that does nothing but wait; see `shared_state`
        warnings.simplefilter("ignore")
        try:
            return os.fork()
        except OSError:
            return None


def _register(
    config: pytest.Config,
    run_config: RunConfig,
    environment: Mapping[str, str],
    template: Template,
) -> ControllerRecorder:
    """Register what the controller of a job has, and return what records it."""
    manager = config.pluginmanager
    others = manager.get_plugins()
    roles.prepare_controller(config, run_config)
    manager.register(template, "valor_schedule_template")
    recorder = roles.controller(config, run_config, None, environment)
    manager.register(recorder, "valor_schedule_controller")
    pytest_forks.order_as_configured(config, manager.get_plugins() - others)
    xdist_session.distribute(config, run_config.workers)
    _continue_terminal(config)
    return recorder


def _control(session: pytest.Session, others: Collection[object]) -> object:
    """Start the session of those who have not seen it start, and run its loop."""
    call = xdist_session.call
    call(session.config, "pytest_sessionstart", others, session=session)
    return call(session.config, "pytest_runtestloop", others, session=session)


def _continue_terminal(config: pytest.Config) -> None:
    """Have the terminal go on behind the collection, which it has shown."""
    plain = config.pluginmanager.get_plugin("valor_schedule_terminal")
    if isinstance(plain, PlainTerminal):
        plain.leave_collection()
        return
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:  # of which xdist's controller does not know
        reporter.stats.pop("deselected", None)
    pytest_forks.drop_warnings_of_collection(config)  # which each worker tells
