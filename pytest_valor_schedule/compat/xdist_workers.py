"""Control the processes of xdist's workers by private parts of xdist and execnet.

Checked with pytest-xdist 3.6 to 3.8 and execnet 2.1. Where a part is not as it was there, the
function says that it does not know, and xdist goes on as it would without us.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

_PIPE_SECONDS = 1.5  # between the end of a process and that of its pipe


def exit_code_of(node: Any, patience: float = 0.0) -> int | None:
    """Return the exit code of a worker's process, negative for a signal; None if not known.

    Args:
        node: The worker as xdist knows it.
        patience: Seconds to wait for a process that is about to end.
    """
    process = _process_of(node)
    if process is None:
        return None
    if patience:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=patience)
    return process.poll()


def pid_of(node: Any) -> int | None:
    """Return the pid of a worker's process; None if not known."""
    process = _process_of(node)
    return None if process is None else process.pid


def _process_of(node: Any) -> subprocess.Popen[bytes] | None:
    return _process_behind(getattr(node, "gateway", None))


def _process_behind(gateway: Any) -> subprocess.Popen[bytes] | None:
    process: Any = getattr(getattr(gateway, "_io", None), "popen", None)
    is_process = all(hasattr(process, name) for name in ("pid", "poll", "wait", "kill"))
    return process if is_process else None


def start_workers_by(config: Any, popen: Callable[..., Any]) -> None:
    """Have execnet start the workers by another function than `subprocess.Popen`.

    Args:
        config: Of the controller; its workers are not there yet.
        popen: Gets the command, and `stdin` and `stdout` as `subprocess.Popen` does.
    """
    dsession = config.pluginmanager.get_plugin("dsession")
    group: Any = getattr(getattr(dsession, "nodemanager", None), "group", None)
    with contextlib.suppress(AttributeError, ImportError, TypeError, ValueError):
        group.set_execmodel(_execmodel_with(popen))


def _execmodel_with(popen: Callable[..., Any]) -> object:
    """Return the model by which xdist has its threads, with another way to start a process."""
    from execnet.gateway_base import MainThreadOnlyExecModel

    class Forking(MainThreadOnlyExecModel):
        @property
        def subprocess(self) -> object:
            return types.SimpleNamespace(PIPE=subprocess.PIPE, Popen=popen)

    return Forking()


def declare_down(node: Any, reason: str) -> None:
    """Tell xdist that a worker is dead, as it would find out at the end of the worker's pipe."""
    try:
        if not node._down:
            node._down = True
            node.notify_inproc("errordown", node=node, error=reason)
    except AttributeError:
        return


def print_no_status(config: Any) -> None:
    """Have xdist print nothing about its workers: neither that they come nor what they collect."""
    dsession = config.pluginmanager.get_plugin("dsession")
    if hasattr(dsession, "terminal"):
        dsession.terminal = None
        config.pluginmanager.unregister(name="terminaldistreporter")


def is_stop(interrupt: BaseException) -> bool:
    """Return whether an exception is the one by which xdist's controller ends a run early."""
    return type(interrupt).__module__ == "xdist.dsession"


def end_workers(session: Any) -> None:
    """Have the workers end, and wait for that as long as xdist does: they may have much to finish.

    It is not waited for those who have inherited a worker's pipe, for whom xdist waits as long.
    """
    dsession = session.config.pluginmanager.get_plugin("dsession")
    manager: Any = getattr(dsession, "nodemanager", None)
    with contextlib.suppress(AttributeError, TypeError):
        gateways = [(gateway, _process_behind(gateway)) for gateway in manager.group]
        processes = [(gateway, process) for gateway, process in gateways if process is not None]
        for gateway, _ in processes:
            gateway.exit()
        deadline = time.monotonic() + manager.EXIT_TIMEOUT
        for _, process in processes:
            _await_end(process, deadline)
        deadline = time.monotonic() + _PIPE_SECONDS
        for gateway, _ in processes:
            gateway.join(timeout=max(0.0, deadline - time.monotonic()))


def _await_end(process: subprocess.Popen[bytes], deadline: float) -> None:
    try:
        process.wait(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()


def wake_scheduler(config: Any, seconds: float) -> None:
    """Have xdist call `remove_pending_tests_from_node` of its scheduler after so many seconds.

    It calls a scheduler only when it hears of a worker; of one that hangs it never does.
    """
    queue = getattr(config.pluginmanager.get_plugin("dsession"), "queue", None)
    if queue is not None:
        event = ("unscheduled", {"node": None, "indices": ()})
        timer = threading.Timer(seconds, queue.put, [event])
        timer.name, timer.daemon = "valor-schedule-starting", True
        timer.start()


@contextlib.contextmanager
def hold_events(config: Any) -> Iterator[None]:
    """Keep from the controller what a worker tells it, until the end of the block."""
    events: list[tuple[str, dict[str, Any]]] = []
    plugins = config.pluginmanager.get_plugins()
    worker = next((each for each in plugins if "sendevent" in vars(type(each))), None)
    if worker is None:
        yield
        return
    worker.sendevent = lambda name, **more: events.append((name, more))
    try:
        yield
    finally:
        del worker.sendevent
        for name, more in events:
            worker.sendevent(name, **more)
