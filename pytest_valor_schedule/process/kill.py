"""Find and end processes and all that they have started."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pytest_valor_schedule.process.memory import children
from pytest_valor_schedule.process.processes import Process

_EMPTY_LOOKS = 30
_CHILDLESS_LOOKS = 3


def interrupt(process: Process) -> None:
    """Send SIGINT to a job's whole process group."""
    _signal_group(process.pid, signal.SIGINT)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def end_group(process: Process) -> None:
    """Kill a process that was started here, and its process group."""
    _signal_group(process.pid, signal.SIGKILL)
    if process.poll() is None:  # a fork that has no group of its own yet
        _kill([process.pid])
    process.wait()


def end_tree(process: Process) -> None:
    """Kill a job's process group, and then every child that this process has."""
    end_group(process)
    end_children()


def end_children(keep: Collection[int] = (), patience: float = 10.0, of: int | None = None) -> None:
    """Kill and reap the children of a process until none is left.

    Only Linux tells of them, and hands orphans to a subreaper, which thereby ends a tree whatever
    its members did to get away.

    Args:
        keep: The children that live on.
        patience: Seconds after which one that cannot be killed is left to the kernel.
        of: The process, which reaps its children itself; None for this one.
    """
    deadline = time.monotonic() + patience
    empty = 0
    # While one child ends, the kernel may leave out another from what it tells of them.
    while empty < _CHILDLESS_LOOKS and time.monotonic() < deadline:
        doomed = set(children(of or "self")) - set(keep)
        empty = 0 if doomed else empty + 1
        _kill(doomed)
        for pid in doomed:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.002)


def end_all_with_variable(name: str, value: str, patience: float = 10.0) -> None:
    """Kill every process that was started with NAME=value in its environment (Linux).

    This is for a job whose runner is dead, when nobody is left who has the job as its child.
    """
    deadline = time.monotonic() + patience
    empty = 0
    # One that forks itself anew all the time is easily missed by a single look.
    while empty < _EMPTY_LOOKS and time.monotonic() < deadline:
        empty += 1
        for pid, other in pids_with_variable(name):  # each at once: it may be about to fork
            if other == value and pid != os.getpid():
                _kill([pid])
                empty = 0
        time.sleep(0.005)


def pids_with_variable(name: str) -> Iterator[tuple[int, str]]:
    """Yield the pid of each process that was started with NAME, the newest first, and the value."""
    for pid in _pids():
        with contextlib.suppress(OSError):  # of another user, or gone by now
            for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if variable.startswith(f"{name}=".encode()):
                    yield pid, variable.partition(b"=")[2].decode(errors="replace")


def pids_with_name(name: str) -> Iterator[int]:
    """Yield the pid of each process that `ps` calls by a name (Linux)."""
    for pid in _pids():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                yield pid


def signal_member(pid: int, number: int, session: int) -> None:
    """Send a signal to a process if it belongs to a session, so that nobody else's is hit."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if pid > 0 and os.getsid(pid) == session:
            os.kill(pid, number)


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    """Return all processes, the newest first (Linux)."""
    if not Path("/proc/self").exists():
        return []
    names = os.listdir("/proc")  # noqa: PTH208
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)
