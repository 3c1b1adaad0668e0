"""Starting processes."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import select
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from pytest_valor_schedule._util import files
from pytest_valor_schedule.process.fork_client import ForkedProcess
from pytest_valor_schedule.process.identity import Identity

PACKAGE = __name__.partition(".")[0]
_FIRST_HANDLE = 3
_MOST_HANDLES = 1 << 16  # where the system does not tell
_WAIT_SECONDS = 0.01
_UMASK = 0o077


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What to start: in a session of its own, without input.

    Attributes:
        command: The words of its command.
        cwd: Its working directory.
        output: The file to which all that it prints is appended, or a descriptor.
        environment: All of its environment, or None for that of this process.
        inherited: Descriptors that it shall have.
        umask: Its umask, or None for that of this process.
    """

    command: Sequence[str]
    cwd: str | Path
    output: Path | int
    environment: Mapping[str, str] | None = None
    inherited: Collection[int] = ()
    umask: int | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """Give the descriptor that all it prints goes to."""
        if isinstance(self.output, int):
            yield self.output
            return
        with open(self.output, "ab", opener=files.opener) as file:
            yield file.fileno()


def start(wanted: Start) -> subprocess.Popen[bytes]:
    """Start a process.

    Raises:
        OSError: if the command or the folder is not there.
    """
    with wanted.opened() as output:
        return subprocess.Popen(
            list(wanted.command),
            cwd=wanted.cwd,
            env=wanted.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=tuple(wanted.inherited),
            umask=-1 if wanted.umask is None else wanted.umask,
        )


def start_detached(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    log: Path,
    environment: Mapping[str, str],
    inherited: Collection[int] = (),
) -> None:
    """Start a module of this package that outlives this process and its terminal.

    It forks at its very start, so that it is no child of ours and ends with nobody.
    """
    code = f"import os\nos.fork() and os._exit(0)\n{_code(module)}"
    # Without -P, which a pytest that is forked from it would have too; the folder is our own.
    command = [sys.executable, "-c", code, *arguments]
    process = start(
        Start(
            command=command,
            cwd=folder,
            output=log,
            environment=environment,
            inherited=inherited,
            umask=_UMASK,
        )
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)


def start_supervised(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    log: Path,
    interpreter: str,
    environment: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    """Start a module of this package in a session of its own, as our child.

    Raises:
        OSError: if the interpreter is not there.
    """
    command = [interpreter, "-P", "-c", _code(module), *arguments]
    return start(Start(command=command, cwd=folder, output=log, environment=environment))


def _code(module: str) -> str:
    """Return what runs a module of this package; while it is imported, too, SIGINT does nothing."""
    deaf = "import signal\nsignal.signal(signal.SIGINT, lambda *_: None)"
    return f"{deaf}\nfrom {PACKAGE}.{module} import main\nmain()"


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


Process: TypeAlias = "Child | ForkedProcess | subprocess.Popen[bytes]"


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


def await_end(process: Process, seconds: float) -> None:
    """Return when a child has ended, or after so many seconds."""
    if not _await_end(process.pid, seconds):
        time.sleep(seconds)


def await_end_of(identity: Identity, seconds: float) -> bool:
    """Return when a process has ended that is no child, or after so many seconds.

    Returns:
        False, and at once, if it has ended before, or where this cannot be waited for.
    """
    return hasattr(os, "pidfd_open") and identity.alive and _await_end(identity.pid, seconds)


def _await_end(pid: int, seconds: float) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError):  # not on Linux
        return False
    try:
        select.select([handle], [], [], seconds)
    finally:
        os.close(handle)
    return True
