"""Starting and ending processes and their descendants."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from pytest_valor_schedule import files

_EMPTY_LOOKS = 30
_FIRST_HANDLE = 3
_MOST_HANDLES = 1 << 16  # where the system does not tell
_WAIT_SECONDS = 0.01
_SET_CHILD_SUBREAPER, _SET_NAME = 36, 15  # <linux/prctl.h>


def become_subreaper() -> None:
    """Have orphaned descendants handed to this process (Linux); elsewhere do nothing.

    This is how Bazel's process-wrapper and systemd keep hold of daemons.
    """
    _prctl(_SET_CHILD_SUBREAPER, 1)


def set_name(name: str) -> None:
    """Set what `ps` and `top` call this process, at most 15 bytes (Linux)."""
    _prctl(_SET_NAME, name.encode())


def _prctl(option: int, value: int | bytes) -> None:
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def heed_interrupts() -> None:
    """Let SIGINT reach this process, and what it starts, as in a terminal.

    A shell starts `command &` with SIGINT ignored, and every descendant would inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start_detached(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    inherited: Collection[int] = (),
) -> None:
    """Start a module of this package that outlives this process and its terminal.

    It forks at its very start, so that it is no child of ours and ends with nobody.
    """
    code = f"import os\nos.fork() and os._exit(0)\nfrom {__package__}.{module} import main\nmain()"
    # Without -P, which a pytest that is forked from it would have too; the folder is our own.
    command = [sys.executable, "-c", code, *arguments]
    process = _start(command, folder, log, environment, inherited)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)


def start_supervised(
    module: str, arguments: Sequence[str], folder: Path, log: Path, interpreter: str
) -> subprocess.Popen[bytes]:
    """Start a module of this package in a session of its own, as our child.

    Raises:
        OSError: if the interpreter is not there.
    """
    return _start([interpreter, "-P", "-m", f"{__package__}.{module}", *arguments], folder, log)


class Child:
    """A process that was forked here, as `subprocess.Popen` is one that was started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal, or None while it runs."""
        return self._look(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code when it has ended.

        Raises:
            subprocess.TimeoutExpired: if it has not after so many seconds.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while (code := self._look(os.WNOHANG if timeout is not None else 0)) is None:
            if time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("a fork", timeout or 0.0)
            time.sleep(_WAIT_SECONDS)
        return code

    def _look(self, options: int) -> int | None:
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, options)
            except ChildProcessError:  # somebody else has asked
                pid, status = self.pid, 0
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


Process: TypeAlias = "Child | subprocess.Popen[bytes]"


def fork(action: Callable[[], None]) -> Child:
    """Do something in a copy of this process, which is our child and ends with it.

    The caller has no other thread, and has closed what must not cross a fork: its database.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Child(pid)
    code = 1
    try:
        action()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:  # nothing of the caller's, neither its cleaning up nor its loop, goes on in here
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def fork_supervised(action: Callable[[], None]) -> Child:
    """Do something in a copy of this process, in a session of its own, as our child.

    All that the caller has open, its locks among it, is closed in the child, whose outputs are
    ours; see `fork`.
    """

    def alone() -> None:
        os.setsid()
        close_all()
        action()

    return fork(alone)


def close_all(keep: Collection[int] = ()) -> None:
    """Close what this process has open, but its input, its outputs and some more."""
    start = _FIRST_HANDLE
    for handle in (*sorted(keep), max(_MOST_HANDLES, os.sysconf("SC_OPEN_MAX"))):
        os.closerange(start, handle)
        start = handle + 1


def _start(
    command: Sequence[str],
    folder: str | Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    inherited: Collection[int] = (),
    umask: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, without input, that prints to a file."""
    with open(log, "ab", opener=files.opener) as output:
        return subprocess.Popen(
            list(command),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=tuple(inherited),
            umask=-1 if umask is None else umask,
        )


def start_job(
    command: Sequence[str],
    cwd: str,
    environment: Mapping[str, str],
    output: Path,
    inherited: Collection[int] = (),
    umask: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a job's pytest: the one place where it comes to life.

    Args:
        command: What to start.
        cwd: Its working directory.
        environment: All of its environment.
        output: The file that gets what it prints.
        inherited: Descriptors that it shall have.
        umask: Its umask, or None for that of this process.

    Raises:
        OSError: if the command or the folder is not there.
    """
    return _start(command, cwd, output, environment, inherited, umask)


def await_end(process: Process, seconds: float) -> None:
    """Return when a child has ended, or after so many seconds."""
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # not on Linux
        time.sleep(seconds)
        return
    try:
        select.select([handle], [], [], seconds)
    finally:
        os.close(handle)


def interrupt(process: Process) -> None:
    """Send SIGINT to a job's whole process group."""
    _signal_group(process.pid, signal.SIGINT)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def end_group(process: Process) -> None:
    """Kill a process that was started here, and its process group."""
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def end_tree(process: Process) -> None:
    """Kill a job's process group, and then every child that this process has."""
    end_group(process)
    end_children()


def end_children(keep: Collection[int] = (), patience: float = 10.0) -> None:
    """Kill and reap the children of this process until none is left.

    A subreaper (`become_subreaper`) thereby ends a tree whatever its members did to get away.

    Args:
        keep: The children that live on.
        patience: Seconds after which one that cannot be killed is left to the kernel.
    """
    deadline = time.monotonic() + patience
    while (doomed := _children() - set(keep)) and time.monotonic() < deadline:
        _kill(doomed)
        for pid in doomed:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.002)


def end_marked(name: str, value: str, patience: float = 10.0) -> None:
    """Kill every process that was started with NAME=value in its environment (Linux).

    This is for a job whose runner is dead, when nobody is left who has the job as its child.
    """
    deadline = time.monotonic() + patience
    mark = f"{name}={value}".encode()
    empty = 0
    # One that forks itself anew all the time is easily missed by a single look.
    while empty < _EMPTY_LOOKS and time.monotonic() < deadline:
        empty = 0 if _kill_marked(mark) else empty + 1
        time.sleep(0.005)


def marked(name: str) -> Iterator[tuple[int, str]]:
    """Yield the pid of each process that has NAME in its first environment, and the value."""
    for pid in _pids():
        with contextlib.suppress(OSError):  # of another user, or gone by now
            for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if variable.startswith(f"{name}=".encode()):
                    yield pid, variable.partition(b"=")[2].decode(errors="replace")


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


def _kill_marked(mark: bytes) -> bool:
    """Kill what carries a mark, the newest first and each at once: it may be about to fork."""
    found = False
    for pid in _pids():
        with contextlib.suppress(OSError):  # of another user, or gone by now
            marked = mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if marked and pid != os.getpid():
                found = True
                _kill([pid])
    return found


def _children() -> set[int]:
    """Return the processes whose parent is this one; only Linux hands us orphans."""
    found: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(map(int, task.read_text().split()))
    return found
