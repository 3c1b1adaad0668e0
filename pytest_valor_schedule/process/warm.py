"""The warm interpreter of a dispatcher, and the spare of a runner (Linux).

The warm interpreter has imported pytest, once for many jobs, and nothing else. It forks a job's
runner, and the runner begins by forking its spare, which is still the same and may become the job's
pytest: as its child, so that nothing of the job can get away from it. Where that would not be like
a start, the spare says so, and the pytest is started.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

from pytest_valor_schedule.process import fork_client, fork_server, kill, processes
from pytest_valor_schedule.process.fork_client import ForkedProcess
from pytest_valor_schedule.process.processes import Start

_PACKAGES = ("site-packages", "dist-packages")


def changed_at() -> float:
    """Return when a package or this interpreter was last installed, or one of our files changed.

    Returns:
        Seconds since the epoch, 0 where nothing of it is there any more.
    """
    installed = [path for path in map(Path, sys.path) if path.name in _PACKAGES]
    added = [path for folder in installed for path in folder.glob("*.pth")]
    times = [0.0]
    ours = Path(__file__).parents[1]
    for path in (*installed, *added, *ours.rglob("*.py")):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    with contextlib.suppress(OSError):
        times.append(Path(sys.executable).stat().st_ctime)  # packages keep its time of building
    return max(times)


class WarmInterpreter:
    """Forks runners; it ends with this process.

    Args:
        environment: Of the interpreter; what is forked is like a start in the same one only.

    Raises:
        OSError: if it cannot be started.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._requests, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, fork_server.__file__, fork_server.SERVE, str(theirs.fileno())],
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The pid of its process."""
        return self._process.pid

    def run(self, module: str, arguments: Sequence[str]) -> ForkedProcess:
        """Run a module in a fork, with the environment and the outputs of this process.

        Raises:
            OSError: if it does not fork.
        """
        order: fork_server.Order = {
            "words": ["-P", "-m", module, *arguments],
            "environment": dict(os.environ),
            "cwd": str(Path.cwd()),
            "leads": True,
            "forks": "spare",
        }
        with Path(os.devnull).open("r+b") as null:
            return ForkedProcess(fork_client.ask(self._requests, order, [null.fileno(), 1, 2]))

    def close(self) -> None:
        """Let it end."""
        self._requests.close()
        self._process.wait()


class Spare:
    """The process that waits to become this runner's pytest, once.

    Args:
        name: The descriptor of the socket at which it waits, and its pid.
    """

    def __init__(self, name: str) -> None:
        handle, self._pid = map(int, name.split())
        self._requests = socket.socket(fileno=handle)

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Spare | None:
        """Return the spare that this process was given, and take it out of its environment."""
        name = environment.pop(fork_server.FORKS_VARIABLE, None)
        return None if name is None else cls(name)

    def become(self, wanted: Start, words: Sequence[str]) -> processes.Child | None:
        """Return the spare as what was wanted; None if it could not be like a start, or is gone."""
        order: fork_server.Order = {
            "words": words,
            "environment": wanted.environment or {},
            "cwd": str(wanted.cwd),
            "inherited": [*wanted.inherited],
            "umask": wanted.umask,
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "forks": "workers",
        }
        child = processes.Child(self._pid)
        with contextlib.suppress(OSError), self._requests, Path(os.devnull).open("r+b") as null:
            with wanted.opened() as output:
                streams = [null.fileno(), output, output]
                line = fork_client.ask(self._requests, order, [*streams, *wanted.inherited])
            line.pid()
            line.close()
            return child
        kill.end_group(child)
        return None


def start_job(
    wanted: Start, spare: Spare | None = None, *, may_fork: bool = True
) -> processes.Process:
    """Start a job's pytest as `processes.start` does, by a fork where that is the same.

    Args:
        wanted: What to start.
        spare: What may become it.
        may_fork: Whether whoever scheduled it has nothing against a fork.

    Raises:
        OSError: if the command or the folder is not there.
    """
    forking = fork_client.with_fork_server(wanted.command, sys.executable)
    can_fork = may_fork and wanted.environment is not None and tuple(wanted.command) != forking
    if spare is not None and can_fork:
        child = spare.become(wanted, forking[2:])
        if child is not None:
            return child
    return processes.start(dataclasses.replace(wanted, command=forking))
