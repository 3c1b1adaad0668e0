"""Have the workers of a job's controller forked by a fork server, where there is one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule.compat import xdist_workers
from pytest_valor_schedule.process import fork_client
from pytest_valor_schedule.process.fork_check import variables_at_start
from pytest_valor_schedule.process.fork_client import ForkedProcess
from pytest_valor_schedule.process.fork_server import ForkRequest

_INHERITED = ("Umask:", "Uid:", "Gid:", "Groups:", "CapEff:", "Cpus_allowed:")


def _inheritance(pid: int) -> tuple[object, ...]:
    """Return what those that a process starts have from it, but for its environment.

    A conftest.py may have changed it after the server was forked.
    """
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    ignored = next(int(line.split()[1], 16) for line in status if line.startswith("SigIgn:"))
    return (
        [line for line in status if line.startswith(_INHERITED)],
        ignored & ~(1 << signal.SIGINT - 1),  # which the server ignores, but no worker
        Path(f"/proc/{pid}/limits").read_text(),
        os.getpriority(os.PRIO_PROCESS, pid),
    )


class ForkedWorkers:
    """Gives xdist forked workers; where that is not possible, xdist starts them itself.

    Args:
        server: The descriptor of the socket to which the server listens, and its pid.
        environment: The one that the server was started with.

    Raises:
        OSError, ValueError: if there is no such server.
    """

    def __init__(self, server: str, environment: Mapping[str, str]) -> None:
        self._server, self._pid = fork_client.server_at(server)
        self._at_start = variables_at_start(environment)

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_setupnodes(self, config: pytest.Config) -> None:
        """Tell xdist who starts the workers, before it starts them."""
        xdist_workers.start_workers_by(config, self._start)

    def _start(
        self, command: Sequence[str], **pipes: Any
    ) -> ForkedProcess | subprocess.Popen[bytes]:
        with contextlib.suppress(OSError):
            alike = variables_at_start(os.environ) == self._at_start
            if alike and _inheritance(self._pid) == _inheritance(os.getpid()):
                return fork(self._server, command)
        return subprocess.Popen(command, **pipes)


def fork(server: socket.socket, command: Sequence[str]) -> ForkedProcess:
    """Have a server fork a worker, with pipes as `subprocess.Popen` makes them.

    Raises:
        OSError: if it does not.
    """
    request: ForkRequest = {
        "words": command[1:],
        "environment": dict(os.environ),
        "cwd": str(Path.cwd()),
    }
    with contextlib.ExitStack() as theirs:
        (stdin, to_worker), (from_worker, stdout) = os.pipe(), os.pipe()
        for handle in (stdin, stdout):
            theirs.callback(os.close, handle)
        pipes = os.fdopen(to_worker, "wb"), os.fdopen(from_worker, "rb")
        return ForkedProcess(fork_client.ask(server, request, [stdin, stdout, 2]), *pipes)
