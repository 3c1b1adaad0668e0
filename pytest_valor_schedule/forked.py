"""Inside a job's controller: has its workers forked by the server, where there is one."""

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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from pytest_valor_schedule import workers
from pytest_valor_schedule.forkserver import variables_at_start

_FORK_SECONDS = 10.0
_WAIT_SECONDS = 0.01
_HANDED_DOWN = ("Umask:", "Uid:", "Gid:", "Groups:", "CapEff:", "Cpus_allowed:")


class ForkedWorker:
    """A worker of the server, as `subprocess.Popen` is one that was started here.

    Args:
        stdin: Where its input comes from.
        stdout: Where its output goes.
        told: The pipe on which the server tells its pid and its exit code.

    Raises:
        OSError: if the server did not fork.
    """

    def __init__(self, stdin: IO[bytes], stdout: IO[bytes], told: int) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.returncode: int | None = None
        self._told = told
        self._heard = b""
        self._lock = threading.Lock()
        pid = self._line(_FORK_SECONDS)
        if not pid:
            os.close(told)
            raise OSError("The server forked no worker.")
        self.pid = int(pid)
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
                raise subprocess.TimeoutExpired("a forked worker", timeout or 0.0)
            time.sleep(_WAIT_SECONDS)
        return code

    def kill(self) -> None:
        """End it."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _code(self) -> int | None:
        line = self._line(0.0)
        if line == "":  # the server is dead, and knows no more how its worker ends
            runs = self._handle is not None and not _readable(self._handle, 0.0)
            return None if runs else -signal.SIGKILL
        return None if line is None else int(line)

    def _close_if_ended(self) -> None:
        if self.returncode is not None:
            os.close(self._told)
            if self._handle is not None:
                os.close(self._handle)

    def _line(self, seconds: float) -> str | None:
        """Return the next that the server says, "" if it is gone, None if it says nothing yet."""
        while b"\n" not in self._heard:
            if not _readable(self._told, seconds):
                return None
            if not (piece := os.read(self._told, 64)):
                return ""
            self._heard += piece
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()


def _readable(handle: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _handed_down(pid: int) -> tuple[object, ...]:
    """Return what those that a process starts have from it, but for its environment.

    A conftest.py may have changed it after the server was forked.
    """
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    ignored = next(int(line.split()[1], 16) for line in status if line.startswith("SigIgn:"))
    return (
        [line for line in status if line.startswith(_HANDED_DOWN)],
        ignored & ~(1 << signal.SIGINT - 1),  # which the server ignores, but no worker
        Path(f"/proc/{pid}/limits").read_text(),
        os.getpriority(os.PRIO_PROCESS, pid),
    )


class Forks:
    """Gives xdist forked workers; where that is not possible, xdist starts them itself.

    Args:
        server: The descriptor of the socket to which the server listens, and its pid.
        environment: The one that the server was started with.

    Raises:
        OSError, ValueError: if there is no such server.
    """

    def __init__(self, server: str, environment: Mapping[str, str]) -> None:
        handle, self._pid = map(int, server.split())
        self._server = socket.socket(fileno=handle)
        self._at_start = variables_at_start(environment)

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_setupnodes(self, config: pytest.Config) -> None:
        """Before the workers are started: say by whom."""
        workers.start_by(config, self._start)

    def _start(
        self, command: Sequence[str], **pipes: Any
    ) -> ForkedWorker | subprocess.Popen[bytes]:
        with contextlib.suppress(OSError):
            alike = variables_at_start(os.environ) == self._at_start
            if alike and _handed_down(self._pid) == _handed_down(os.getpid()):
                return self._fork(command)
        return subprocess.Popen(command, **pipes)

    def _fork(self, command: Sequence[str]) -> ForkedWorker:
        with contextlib.ExitStack() as theirs:
            (stdin, to_worker), (from_worker, stdout), (told, pipe) = (os.pipe() for _ in range(3))
            order = os.memfd_create("order")
            handles = [order, stdin, stdout, pipe]
            for handle in handles:
                theirs.callback(os.close, handle)
            wanted = {
                "command": list(command),
                "environment": dict(os.environ),
                "cwd": str(Path.cwd()),
            }
            os.write(order, json.dumps(wanted).encode(errors="surrogateescape"))
            os.lseek(order, 0, os.SEEK_SET)
            socket.send_fds(self._server, [b"w"], handles)
        return ForkedWorker(os.fdopen(to_worker, "wb"), os.fdopen(from_worker, "rb"), told)
