"""Asking a fork server for processes; see fork_server.py, to which this is the other end."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import IO

from pytest_valor_schedule.process import fork_server
from pytest_valor_schedule.process.fork_server import Order

_FORK_SECONDS = 10.0
_WAIT_SECONDS = 0.01


class Line:
    """What a server tells about a fork, a number for a line."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._heard = b""

    def number(self, seconds: float) -> int | None:
        """Return the next number; None if none is said within so many seconds.

        Raises:
            EOFError: if nobody is left who could say any.
        """
        while b"\n" not in self._heard:
            if not readable(self._handle, seconds):
                return None
            if not (piece := os.read(self._handle, 64)):
                raise EOFError
            self._heard += piece
        line, _, self._heard = self._heard.partition(b"\n")
        return int(line)

    def pid(self) -> int:
        """Return the pid, which is told first.

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
        """Listen no more."""
        os.close(self._handle)


def with_fork_server(command: Sequence[str], interpreter: str) -> tuple[str, ...]:
    """Return a command that does the same as another one, with the fork server between.

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
    return (interpreter, fork_server.__file__, *plain[1:])


def readable(handle: int, seconds: float) -> bool:
    """Return whether anything can be read within so many seconds."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def ask(server: socket.socket, order: Order, handles: Sequence[int]) -> Line:
    """Send an order.

    Args:
        server: Where the server listens.
        order: What it shall fork.
        handles: The streams and the inherited descriptors.

    Raises:
        OSError: if there is no server any more.
    """
    listening, saying = os.pipe()
    written = os.memfd_create("order")
    try:
        os.write(written, json.dumps(order).encode(errors="surrogateescape"))
        os.lseek(written, 0, os.SEEK_SET)
        socket.send_fds(server, [b"f"], [written, saying, *handles])
    except OSError:
        os.close(listening)
        raise
    finally:
        os.close(written)
        os.close(saying)
    return Line(listening)


class ForkedProcess:
    """A process that a server has forked, as `subprocess.Popen` is one that was started here.

    Args:
        line: On which the server tells its pid and its exit code.
        stdin: Where its input comes from, if from here.
        stdout: Where its output goes, if to here.

    Raises:
        OSError: if the server did not fork.
    """

    def __init__(
        self, line: Line, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None
    ) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.returncode: int | None = None
        self._line = line
        self._lock = threading.Lock()
        self.pid = line.pid()
        self._handle: int | None = None
        with contextlib.suppress(OSError):  # it has ended already, and the server says how
            self._handle = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal, or None while it runs."""
        with self._lock:
            if self.returncode is None:
                self.returncode = self._code()
                self._close_if_ended()
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code when it has ended.

        Raises:
            subprocess.TimeoutExpired: if it has not after so many seconds.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:  # others may look, and kill, at the same time
            if time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
            time.sleep(_WAIT_SECONDS)
        return code

    def kill(self) -> None:
        """End it."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _code(self) -> int | None:
        try:
            return self._line.number(0.0)
        except EOFError:  # the server is dead, and knows no more how its fork ends
            runs = self._handle is not None and not readable(self._handle, 0.0)
            return None if runs else -signal.SIGKILL

    def _close_if_ended(self) -> None:
        if self.returncode is not None:
            self._line.close()
            if self._handle is not None:
                os.close(self._handle)
