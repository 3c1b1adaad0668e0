"""Starts a job's pytest beside a process that has pytest imported, and forks its workers (Linux).

Half of the time of a small job is three interpreters that import pytest. This one is run by its
path with the words that Python would have got, `-m pytest ARGS` or `/bin/pytest ARGS`. It imports
what every pytest imports, forks the server, and then is the pytest that was asked for. The server
has seen no option, plugin, conftest.py or thread of the run; what it forks is a fresh worker, to
which execnet speaks as to one that it has started itself. The idea is that of the zygote of
Android and of multiprocessing's forkserver.

Nothing else of this package is imported in here: a worker has to import it as a plugin.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import types
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Literal, TextIO

FORKS_VARIABLE = "VALOR_SCHEDULE_FORKS"  # also in variables.py, which is not imported here
SERVER_NAME, WORKER_NAME = "valor-forks", "valor-worker"
"""What `ps` and `top` call the server and a worker."""
_AT_START = (
    *("PYTHON", "LD_", "LC_", "LANG", "TZ", "MALLOC_", "GLIBC_"),
    *("OPENSSL_", "EXECNET_", "COV"),
)
_HANDLES = 4
_FIRST_OTHER = 3  # descriptor


def variables_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables at which an interpreter, or a library, looks only when it starts."""
    return {name: value for name, value in environment.items() if name.startswith(_AT_START)}


class _Server:
    """Forks a worker for each request, and tells of its end.

    A request is an order as JSON in a file, with the worker's input and output and the pipe on
    which the server writes its pid and, later, its exit code, a line each.
    """

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._workers: dict[int, tuple[int, int]] = {}  # pidfd -> pid, pipe

    def serve(self) -> list[int] | None:
        """Return the descriptors of a request in each fork, and None when nobody can ask."""
        while True:
            poll = select.poll()
            for handle in (self._requests.fileno(), *self._workers):
                poll.register(handle, select.POLLIN)
            ready = {handle for handle, _ in poll.poll()}
            for handle in self._workers.keys() & ready:
                self._tell_end(handle)
            if self._requests.fileno() in ready:
                _, handles, _, _ = socket.recv_fds(self._requests, 1, _HANDLES)
                if len(handles) != _HANDLES:
                    return None
                if not self._fork(handles):
                    return handles

    def _fork(self, handles: list[int]) -> int:
        *others, pipe = handles
        try:
            pid = os.fork()
        except OSError:  # too many processes; the end of the pipe says so
            for handle in handles:
                os.close(handle)
            return -1
        if not pid:
            self._requests.close()
            for handle, (_, other) in self._workers.items():
                os.close(handle)
                os.close(other)
            return pid
        for handle in others:
            os.close(handle)
        self._workers[os.pidfd_open(pid)] = pid, pipe
        _say(pipe, pid)
        return pid

    def _tell_end(self, handle: int) -> None:
        pid, pipe = self._workers.pop(handle)
        _say(pipe, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os.close(handle)
        os.close(pipe)


def _say(pipe: int, number: int) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(pipe, b"%d\n" % number)


def import_pytest() -> None:
    """Import what every pytest with xdist imports before it looks at any plugin."""
    importlib.import_module("execnet.gateway_base")
    config = importlib.import_module("_pytest.config")
    importlib.import_module("pytest")
    for name in getattr(config, "default_plugins", ()):
        importlib.import_module(f"_pytest.{name}")


def can_fork() -> bool:
    """Whether a fork of this process is like a fresh one, and its end can be waited for."""
    if sys.platform != "linux" or threading.active_count() > 1 or sys.gettrace() is not None:
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # an old kernel, or one that a sandbox speaks for
        return False
    return sys.getprofile() is None


def _start_server() -> list[int] | None:
    """Start the server; return the descriptors of a request in each worker, None in the pytest."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        os.environ[FORKS_VARIABLE] = f"{ours.detach()} {pid}"
        return None
    ours.close()
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with its pytest
    _name(SERVER_NAME)
    gc.freeze()  # what the workers share is not to be searched, which would copy it
    handles = None
    with contextlib.suppress(Exception):  # whatever it is, this process is no pytest
        handles = _Server(theirs).serve()
    if handles is None:
        os._exit(0)
    signal.signal(signal.SIGINT, on_interrupt)
    _name(WORKER_NAME)
    return handles


def _name(name: str) -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def _work(handles: list[int]) -> None:
    """Be a worker: do what execnet has an interpreter do that it starts."""
    order, stdin, stdout, _ = handles
    with os.fdopen(order, encoding="utf-8", errors="surrogateescape") as file:
        wanted = json.load(file)
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    os.closerange(_FIRST_OTHER, os.sysconf("SC_OPEN_MAX"))  # as subprocess closes them
    sys.path_importer_cache.clear()
    os.environ.clear()
    os.environ.update(wanted["environment"])
    os.chdir(wanted["cwd"])
    sys.stdin = sys.__stdin__ = _opened(0, "r", sys.__stdin__)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _opened(1, "w", sys.__stdout__)  # type: ignore[misc]
    sys.argv, sys.orig_argv = ["-c"], list(wanted["command"])
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(eval(sys.stdin.readline()), main.__dict__)  # noqa: S102, S307  # as execnet says


def _opened(handle: int, mode: Literal["r", "w"], like: TextIO | None) -> TextIOWrapper:
    """Return a stream with the encoding that the interpreter gave to its own."""
    encoding, errors = (None, None) if like is None else (like.encoding, like.errors)
    return open(handle, mode, encoding=encoding, errors=errors, closefd=False)


def _run(words: Sequence[str]) -> None:
    """Be the Python that was started with these words."""
    sys.orig_argv = [sys.executable, *words]
    if words[0] == "-m":
        sys.argv = list(words[1:])
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(words)
        runpy.run_path(words[0], run_name="__main__")


def main(words: Sequence[str]) -> None:
    """Be the pytest that the words name, or one of its workers."""
    if not sys.flags.safe_path:
        sys.path[0] = str(Path.cwd() if words[0] == "-m" else Path(words[0]).resolve().parent)
    handles = None
    if can_fork():
        with contextlib.suppress(ImportError, OSError):
            import_pytest()
            handles = _start_server()
    if handles is None:
        _run(words)
    else:
        _work(handles)


def forking(command: Sequence[str], interpreter: str) -> tuple[str, ...]:
    """Return a command that does the same as another one, with this module between.

    Args:
        command: What starts pytest.
        interpreter: The Python that this package is known to be installed for.

    Returns:
        The command itself where it is none of `PYTHON -m pytest ...` and `PYTHON SCRIPT ...`.
    """
    plain = tuple(command)
    script = len(plain) > 1 and not plain[1].startswith("-")
    if plain[:1] != (interpreter,) or not (script or plain[1:3] == ("-m", "pytest")):
        return plain
    return (interpreter, __file__, *plain[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
