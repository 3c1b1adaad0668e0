"""Start the pytests of jobs from what a warm interpreter has forked (Linux).

A runner that a warm interpreter forks begins by forking a process that is still the same and may
become the job's pytest: as its child, so that nothing of the job can get away from it. Where that
would not be like a start, it ends without an answer, and the pytest is started.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from pytest_valor_schedule.process import fork_client, fork_server, kill, processes
from pytest_valor_schedule.process.fork_client import ForkedChild
from pytest_valor_schedule.process.processes import Start

_PACKAGES = ("site-packages", "dist-packages")


def changed_at() -> float:
    """Return when a package or this interpreter was last installed, or one of our files changed.

    Returns:
        Seconds since the epoch, 0 where nothing of it is there any more.
    """
    folders = [path for path in map(Path, sys.path) if path.name in _PACKAGES]
    pth_files = [path for folder in folders for path in folder.glob("*.pth")]
    times = [0.0]
    ours = Path(__file__).parents[1]
    for path in (*folders, *pth_files, *ours.rglob("*.py")):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    with contextlib.suppress(OSError):
        times.append(Path(sys.executable).stat().st_ctime)  # packages keep its time of building
    return max(times)


class PreforkedPytest:
    """The process that waits to become this runner's pytest, once.

    Args:
        name: The descriptor of the socket at which it waits, and its pid.
    """

    def __init__(self, name: str) -> None:
        self._requests, self._pid = fork_client.server_at(name)

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> PreforkedPytest | None:
        """Return the one that this process has, and take it out of its environment."""
        name = environment.pop(fork_server.FORKS_VARIABLE, None)
        return None if name is None else cls(name)

    def become(
        self, spec: Start, words: Sequence[str], *, forks_workers: bool = True
    ) -> ForkedChild | None:
        """Return it as a pytest; None if it could not be like a start, or is gone.

        Args:
            spec: What to start.
            words: Those of its command behind the name of the interpreter.
            forks_workers: Whether there shall be a server beside it that forks xdist's workers.
        """
        request: fork_server.ForkRequest = {
            "words": words,
            "environment": spec.environment or {},
            "cwd": str(spec.cwd),
            "inherited": [*spec.inherited],
            "umask": spec.umask,
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
        }
        if forks_workers:
            request["forks"] = "workers"
        child = ForkedChild(self._pid)
        with contextlib.suppress(OSError), self._requests, Path(os.devnull).open("r+b") as null:
            with spec.open_output() as output:
                streams = [null.fileno(), output, output]
                reply = fork_client.ask(self._requests, request, [*streams, *spec.inherited])
            reply.pid()
            reply.close()
            return child
        kill.end_group(child)
        return None


def start_job(
    spec: Start, preforked: PreforkedPytest | None = None, *, may_fork: bool = True
) -> processes.Process:
    """Start a job's pytest as `processes.start` does, by a fork where that is the same.

    Args:
        spec: What to start.
        preforked: What may become it.
        may_fork: Whether whoever scheduled it has nothing against a fork.

    Raises:
        OSError: if the command or the folder is not there.
    """
    command = fork_client.with_fork_server(spec.command, sys.executable)
    can_fork = may_fork and spec.environment is not None and tuple(spec.command) != command
    if preforked is not None and can_fork:
        child = preforked.become(spec, command[2:])
        if child is not None:
            return child
    return processes.start(dataclasses.replace(spec, command=command))
