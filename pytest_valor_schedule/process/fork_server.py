"""Fork interpreters that are as if they had been started, but have imported pytest (Linux).

Half of the time of a small job is three interpreters that import pytest. This module is run by its
path, in one of two ways:

`SERVE HANDLE`: a warm interpreter of a dispatcher, which may be of another version. It tells the
files that it comes from, and then forks runners; each of them begins by forking a process that
waits to become the job's pytest.

`-m pytest ARGS` or `/bin/pytest ARGS`: the pytest of a job. It forks a server, and then is the
pytest that was to start; the server forks the job's workers.

All of them have seen no option, plugin, conftest.py or thread of a run, nothing of this package,
and no module that a pytest which is started has not: what is forked is an interpreter at its start,
which then does what its words say, from the bottom of its stack. The idea is that of the zygote of
Android and of multiprocessing's forkserver.
"""

from __future__ import annotations

import os
import sys
import time


def _first_folder(words: list[str]) -> str:
    """Return what comes first on the path of an interpreter that is started with these words."""
    if words[0] == "-m":
        return os.getcwd()  # noqa: PTH109  # pathlib is not to be imported yet
    return os.path.dirname(os.path.realpath(words[0]))  # noqa: PTH120


def import_pytest() -> bool:
    """Import what every pytest with xdist imports before it looks at any plugin."""
    try:
        __import__("execnet.gateway_base")
        __import__("pytest")
        for name in getattr(sys.modules["_pytest.config"], "default_plugins", ()):
            __import__(f"_pytest.{name}")
    except Exception:  # the pytest says itself what is wrong
        return False
    return True


_SERVE = "--serve"
SERVE = f"{_SERVE}-2"  # another number for each change of what is said between the two ends
_BORN = time.time()
if __name__ == "__main__":  # before anything is imported that a pytest might not import
    _PATH = tuple(sys.path if sys.flags.safe_path else sys.path[1:])
    sys.path[:] = _PATH
    if not sys.argv[1].startswith(_SERVE) and not sys.flags.safe_path:
        sys.path.insert(0, _first_folder(sys.argv[1:]))
    _HAS_PYTEST = import_pytest()
_MODULES = frozenset(sys.modules)

import contextlib
import gc
import importlib.util
import json
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

FORKS_VARIABLE = "VALOR_SCHEDULE_FORKS"  # also in env.py, which is not imported here
SERVER_NAME = "valor-forks"
"""What `ps` and `top` call what forks."""
_MOST_HANDLES = 250  # of one message, by the kernel
_Program = tuple[Callable[..., object], tuple[Any, ...]]


class ForkRequest(TypedDict, total=False):
    """What to fork.

    With it come descriptors: a pipe, the three streams, and the inherited ones. To the pipe go the
    pid and, from a server, later the exit code, a line each.
    """

    words: Sequence[str]  # behind the name of the interpreter
    environment: Mapping[str, str]
    cwd: str
    inherited: Sequence[int]  # the numbers that they are to have
    leads: bool  # a session of its own
    umask: int | None
    nice: int | None
    forks: Literal["pytest", "workers"]


class Message(NamedTuple):
    """A request and its descriptors; none for a pytest that was started."""

    request: ForkRequest
    handles: Sequence[int]


def can_fork() -> bool:
    """Whether a fork of this process is like a fresh one, and its end can be waited for."""
    if sys.platform != "linux" or threading.active_count() > 1 or sys.gettrace() is not None:
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # an old kernel, or one that a sandbox speaks for
        return False
    return sys.getprofile() is None


class _Server:
    """Forks a process for each message, and tells of its end."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._forks: dict[int, tuple[int, int]] = {}  # pidfd -> pid, pipe

    def serve(self) -> Sequence[int]:
        """Return the descriptors of a message in each fork, and none when nobody can ask."""
        while True:
            poll = select.poll()
            for handle in (self._requests.fileno(), *self._forks):
                poll.register(handle, select.POLLIN)
            ready = {handle for handle, _ in poll.poll()}
            for handle in self._forks.keys() & ready:
                self._tell_end(handle)
            if self._requests.fileno() in ready:
                handles = _receive(self._requests)
                if not handles or not self._fork(handles):
                    return handles

    def _fork(self, handles: Sequence[int]) -> int:
        request, pipe, *others = handles
        try:
            pid = os.fork()
        except OSError:  # too many processes; the end of the pipe says so
            pid = -1
        forks = [each for handle, (_, other) in self._forks.items() for each in (handle, other)]
        for handle in (request, *others) if pid else forks:
            os.close(handle)
        if pid < 0:
            os.close(pipe)
        elif pid:
            self._forks[os.pidfd_open(pid)] = pid, pipe
            _tell(pipe, pid)
        return pid

    def _tell_end(self, handle: int) -> None:
        pid, pipe = self._forks.pop(handle)
        _tell(pipe, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os.close(handle)
        os.close(pipe)


def _receive(requests: socket.socket) -> Sequence[int]:
    """Return the descriptors of the next message; none when nobody can ask any more."""
    return socket.recv_fds(requests, 1, _MOST_HANDLES)[1]


def _tell(pipe: int, number: int) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(pipe, b"%d\n" % number)


def serve(requests: socket.socket) -> Message:
    """Be a server; return a message in each fork."""
    can_freeze = not gc.get_freeze_count()  # Python 3.12 begins with some that stay so
    if can_freeze:
        gc.freeze()  # what all share is not to be searched, which would copy it
    with _as_server():
        handles = _Server(requests).serve()
        message = _read_message(handles) if handles else None
    if message is None:
        os._exit(0)
    if can_freeze:
        gc.unfreeze()
    return message


def _wait_for_one(requests: socket.socket) -> Message:
    """Wait for one message, and return it where it is like a start to fulfil it."""
    message = None
    with _as_server():
        if handles := _receive(requests):
            message = _read_message(handles)
    if message is None or not _is_like(message.request):
        os._exit(0)
    os.setsid()  # before anybody may want to signal its group
    _tell(message.handles[0], os.getpid())
    return message


@contextlib.contextmanager
def _as_server() -> Iterator[None]:
    """Be no more than one who waits, whom an interrupt does not reach: it ends with who asks."""
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    comm = Path("/proc/self/comm")
    name = comm.read_text().strip()
    comm.write_text(SERVER_NAME)
    with contextlib.suppress(OSError, ValueError):  # whatever it is, this process is no pytest
        yield
    comm.write_text(name)
    signal.signal(signal.SIGINT, on_interrupt)


def _read_message(handles: Sequence[int]) -> Message:
    with os.fdopen(handles[0], encoding="utf-8", errors="surrogateescape") as file:
        return Message(json.load(file), handles[1:])


def _is_like(request: ForkRequest) -> bool:
    """Whether a fork of this process would be like a start."""
    if not _PROCTITLE.can_show() or _FORK_CHECK.is_edited(_MODULES, _BORN):
        return False
    return bool(
        _FORK_CHECK.is_like(request["words"], request["cwd"], request["environment"], _MODULES)
    )


def _load_beside(name: str) -> Any:
    """Return a module beside this one, which nobody who is forked here is to find imported."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # for a file that ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _branch(
    message: Message, serve: Callable[[socket.socket], Message]
) -> tuple[Message, Sequence[int]]:
    """Fork the server of this process.

    Returns:
        Here the same message, and the handle and the pid of the server; in what that one forks
        the message for it, and nothing.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return message, (ours.detach(), pid)
    ours.close()
    with theirs:
        return serve(theirs), ()


def main(words: Sequence[str]) -> _Program:
    """Return what the interpreter that this process has become is to run."""
    message = _request(words)
    server: Sequence[int] = ()
    if message.request.get("forks") == "pytest":
        message, server = _branch(message, _wait_for_one)
    _become(message, server[:1])
    if message.request.get("forks") == "workers" and _HAS_PYTEST and can_fork():
        message, server = _branch(message, serve)
        if not server:
            _become(message, ())
    if server:
        os.environ[FORKS_VARIABLE] = " ".join(map(str, server))
    for name in sys.modules.keys() - _MODULES:
        del sys.modules[name]
    sys.path_importer_cache.pop(__file__, None)
    program: _Program = _FORK_CHECK.program(message.request["words"])
    return program


def _request(words: Sequence[str]) -> Message:
    """Return what this process is to become: what it was started as, or what comes by message."""
    if not words[0].startswith(_SERVE):
        return Message({"words": words, "forks": "workers"}, ())
    if words[0] != SERVE or not (_HAS_PYTEST and can_fork()):
        os._exit(1)  # which says it all
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    with socket.socket(fileno=int(words[1])) as requests:
        with contextlib.suppress(OSError):  # nobody is there any more
            requests.sendall(json.dumps(_FORK_CHECK.sources(_MODULES)).encode() + b"\n")
        return serve(requests)


def _become(message: Message, keep: Sequence[int]) -> None:
    """Be the interpreter that was ordered; one that was started is that already."""
    request = message.request
    if message.handles:
        _FORK_CHECK.become(request, message.handles[1:], keep)
        sys.path[:] = [*_FORK_CHECK.first_on_path(request["words"]), *_PATH]
    _PROCTITLE.show_as((sys.executable, *request["words"]), os.environ)


if __name__ == "__main__":
    _FORK_CHECK, _PROCTITLE = _load_beside("fork_check"), _load_beside("proctitle")
    _PROCTITLE.place_of_command()  # once for all forks
    _run, _arguments = main(sys.argv[1:])
    _run(*_arguments)
