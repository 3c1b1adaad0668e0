"""Ask a fork server for processes, as the other end of fork_server.py, and follow forks."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import IO

from pytest_valor_schedule.process import fork_server, messages
from pytest_valor_schedule.process.fork_server import ForkRequest

_FORK_SECONDS = 10.0
_WAIT_SECONDS = 0.01


class Reply:
    """What a server tells of a fork, a number for a line."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._buffer = b""

    def number(self, seconds: float) -> int | None:
        """Return the next number; None if none comes within so many seconds.

        Raises:
            EOFError: if there is nobody any more to tell any.
        """
        while b"\n" not in self._buffer:
            if not readable(self._handle, seconds):
                return None
            if not (piece := os.read(self._handle, 64)):
                raise EOFError
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return int(line)

    def pid(self) -> int:
        """Return the pid, which comes first.

        Raises:
            OSError: if nothing was forked.
        """
        pid = None
        with contextlib.suppress(EOFError):
            pid = self.number(_FORK_SECONDS)
        if pid is None:
            self.close()
            raise OSError("The server forked no process.")
        return pid

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._handle)


def with_fork_server(command: Sequence[str], interpreter: str) -> tuple[str, ...]:
    """Return a command that does the same as another one, with the fork server between.

    Args:
        command: What starts pytest.
        interpreter: The Python that has this package.

    Returns:
        The command itself where it is none of `PYTHON -m pytest ...` and `PYTHON SCRIPT ...`.
    """
    plain = tuple(command)
    script = len(plain) > 1 and not plain[1].startswith("-")
    if plain[:1] != (interpreter,) or not (script or plain[1:3] == ("-m", "pytest")):
        return plain
    return (interpreter, fork_server.__file__, *plain[1:])


def server_at(name: str) -> tuple[socket.socket, int]:
    """Return the socket and the pid of a server from its `FORKS_VARIABLE`.

    Raises:
        OSError, ValueError: if there is no such server.
    """
    handle, pid = map(int, name.split())
    return socket.socket(fileno=handle), pid


def readable(handle: int, seconds: float) -> bool:
    """Return whether anything can be read within so many seconds."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def ask(server: socket.socket, request: ForkRequest, handles: Sequence[int]) -> Reply:
    """Send a request.

    Args:
        server: Where the server listens.
        request: What it shall fork.
        handles: The streams and the inherited descriptors.

    Raises:
        OSError: if there is no server any more.
    """
    read_end, write_end = os.pipe()
    try:
        messages.send(server, request, [write_end, *handles])
    except OSError:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    return Reply(read_end)


class _Fork(ABC):
    """A process that was forked, as `subprocess.Popen` is one that was started."""

    stdin: IO[bytes] | None = None
    stdout: IO[bytes] | None = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._lock = threading.Lock()  # others may look, and kill, at the same time

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal, or None while it runs."""
        with self._lock:
            if self.returncode is None:
                self.returncode = self._exit_code()
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code when it has ended.

        Raises:
            subprocess.TimeoutExpired: if it has not after so many seconds.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
            time.sleep(_WAIT_SECONDS)
        return code

    def kill(self) -> None:
        """End it."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    @abstractmethod
    def _exit_code(self) -> int | None:
        """Look whether it has ended, and how."""


class ForkedChild(_Fork):
    """A child of this process."""

    def _exit_code(self) -> int | None:
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # somebody else has reaped it
            return 0
        return os.waitstatus_to_exitcode(status) if pid else None


class ForkedProcess(_Fork):
    """A child of a server.

    Args:
        reply: On which the server tells its pid and its exit code.
        stdin: Where its input comes from, if from here.
        stdout: Where its output goes, if to here.

    Raises:
        OSError: if the server did not fork.
    """

    def __init__(
        self, reply: Reply, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None
    ) -> None:
        super().__init__(reply.pid())
        self.stdin = stdin
        self.stdout = stdout
        self._reply = reply
        self._handle: int | None = None
        with contextlib.suppress(OSError):  # it has ended already, and the server says how
            self._handle = os.pidfd_open(self.pid)

    def _exit_code(self) -> int | None:
        try:
            code = self._reply.number(0.0)
        except EOFError:  # the server is dead, and knows no more how its fork ends
            code = self._exit_code_of_orphan()
        if code is not None:
            self._reply.close()
            if self._handle is not None:
                os.close(self._handle)
        return code

    def _exit_code_of_orphan(self) -> int | None:
        """Return it as a subreaper, to which it came, can tell; else it counts as killed."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            runs = self._handle is not None and not readable(self._handle, 0.0)
            return None if runs else -signal.SIGKILL
        return os.waitstatus_to_exitcode(status) if pid else None
