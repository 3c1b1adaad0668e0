"""Keep an interpreter warm, which has imported pytest and nothing else, and fork from it (Linux).

It is that of any virtual environment, with what is installed there: its fork server is the one of
that environment's copy of this package. Where that is of a version that speaks otherwise, or there
is none, the interpreter ends without a word.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pytest_valor_schedule.process import fork_client, fork_server
from pytest_valor_schedule.process.fork_client import ForkedProcess
from pytest_valor_schedule.process.processes import PACKAGE

_START_SECONDS = 5.0
_END_SECONDS = 1.0
_RETRY_SECONDS = 60.0
_MOST_BYTES = 1 << 16
_BECOME_SERVER = f"""
import importlib.util, os, sys
package = importlib.util.find_spec({PACKAGE!r})
for folder in package and package.submodule_search_locations or ():
    server = os.path.join(folder, "process", "fork_server.py")
    if os.path.exists(server):
        os.execv(sys.executable, [sys.executable, server, *sys.argv[1:]])
"""


class Stamp(NamedTuple):
    """Tells a file from what is there later by the same name."""

    modified_ns: int
    inode: int
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """What an interpreter has read from the disk, and when.

    Attributes:
        stamps: Of each file and folder; None for one that is not there.
        born: Before its start, in seconds since the epoch.
        seen: When the stamps were taken, likewise.
    """

    stamps: Mapping[str, Stamp | None]
    born: float
    seen: float

    @classmethod
    def of(cls, paths: Iterable[str], born: float) -> Sources:
        """Return what these are now."""
        return cls(_stamps(paths), born, time.time())

    def is_stale(self) -> bool:
        """Whether an interpreter that is started now may be another one."""
        return differs(self, _stamps(self.stamps))


def differs(then: Sources, now: Mapping[str, Stamp | None]) -> bool:
    """Return whether anything has changed since an interpreter began to read it.

    What is newer than a clock of another machine is not thought to change all the time.
    """
    times = [stamp.modified_ns / 1e9 for stamp in then.stamps.values() if stamp is not None]
    return now != then.stamps or any(then.born < each <= then.seen for each in times)


def _stamps(paths: Iterable[str]) -> dict[str, Stamp | None]:
    return {path: _stamp(path) for path in paths}


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.stat(path)  # noqa: PTH116  # some hundreds of them before each job
    except OSError:
        return None
    return Stamp(status.st_mtime_ns, status.st_ino, status.st_size)


class WarmInterpreter:
    """Forks processes; it ends with this process.

    Args:
        interpreter: The path of the Python.
        environment: Of the interpreter, and of all that it forks.

    Raises:
        OSError: if it cannot be started.
    """

    def __init__(self, interpreter: str, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._born, self._started = time.time(), time.monotonic()
        self._forks: list[ForkedProcess] = []
        self._report = b""
        self._sources: Sources | None = None
        self._is_at_fault = False
        self._requests, theirs = socket.socketpair()
        with theirs, self._closed_on_error():
            handle = str(theirs.fileno())
            self._process = subprocess.Popen(
                [interpreter, "-P", "-c", _BECOME_SERVER, fork_server.SERVE, handle],
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The pid of its process."""
        return self._process.pid

    def is_usable(self) -> bool:
        """Whether it forks what is like a start; for one that is just starting, wait for it."""
        if self._sources is None:
            self._await_report(self._started + _START_SECONDS)
        return self._sources is not None and not self._has_ended() and not self._sources.is_stale()

    def needs_successor(self, now: float) -> bool:
        """Whether another one may do better; not yet where this one could not be had.

        Args:
            now: Seconds of `time.monotonic`.
        """
        if self._sources is None:
            self._await_report(deadline=now)
        if self._sources is None:
            return now >= self._started + _RETRY_SECONDS
        return self._has_ended() or self._sources.is_stale()

    def _has_ended(self) -> bool:
        return self._is_at_fault or self._process.poll() is not None

    def _await_report(self, deadline: float) -> None:
        """Read what it says when it is ready, if it does so in time."""
        while not self._report.endswith(b"\n"):
            seconds = max(0.0, deadline - time.monotonic())
            if not fork_client.readable(self._requests.fileno(), seconds):
                return
            if not (piece := self._requests.recv(_MOST_BYTES)):
                return  # it has ended
            self._report += piece
        self._sources = Sources.of(json.loads(self._report), self._born)

    def run(
        self,
        module: str,
        arguments: Sequence[str],
        inherited: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> ForkedProcess:
        """Run a module in a fork, with the outputs of this process.

        Args:
            module: Its name.
            arguments: Those of its command line.
            inherited: Descriptors of this process that it shall have.
            environment: All of its environment, which differs in nothing that counts at a start;
                that of the interpreter if None.

        Raises:
            OSError: if it does not fork, which it is not asked for again.
        """
        request: fork_server.ForkRequest = {
            "words": ["-P", "-m", module, *arguments],
            "environment": dict(environment or self._environment),
            "cwd": str(Path.cwd()),
            "inherited": [*inherited],
            "leads": True,
            "forks": "pytest",
        }
        self._is_at_fault = True
        with Path(os.devnull).open("r+b") as null:
            handles = [null.fileno(), 1, 2, *inherited]
            fork = ForkedProcess(fork_client.ask(self._requests, request, handles))
        self._is_at_fault = False
        self._forks.append(fork)
        return fork

    def has_forks(self) -> bool:
        """Whether anything that it forked still runs, of whose end only it can tell."""
        self._forks = [fork for fork in self._forks if fork.poll() is None]
        return bool(self._forks)

    def close(self) -> None:
        """Let it end, whatever it does."""
        self._requests.close()
        if self._sources is None:
            self._process.kill()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._requests.close()
            raise
