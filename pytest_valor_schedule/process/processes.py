"""Start processes, and wait for their end."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from pytest_valor_schedule._util import files
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.process.fork_check import variables_at_start
from pytest_valor_schedule.process.fork_client import ForkedChild, ForkedProcess, readable
from pytest_valor_schedule.process.identity import Identity

PACKAGE = __name__.partition(".")[0]
_FIRST_HANDLE = 3
_MOST_HANDLES = 1 << 16  # where the system does not tell
_UMASK = 0o077

_FROM_STARTER = (
    "HOME",  # where this user's packages are
    # What of the settings of the machine a dispatcher and a runner look up; see `settings`.
    *(f"VALOR_SCHEDULE_{name}" for name in ("SLOTS", "AGING_MINUTES", "MEMORY_RESERVE_MB")),
    "VALOR_SCHEDULE_IDLE_SECONDS",
)
_NEVER = ("COV", "LD_AUDIT", "LD_PRELOAD")
"""What measures a process, or changes it from below, on behalf of one run."""


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
    def open_output(self) -> Iterator[int]:
        """Give the descriptor that all it prints goes to."""
        if isinstance(self.output, int):
            yield self.output
            return
        with open(self.output, "ab", opener=files.opener) as file:
            yield file.fileno()


def start(spec: Start) -> subprocess.Popen[bytes]:
    """Start a process.

    Raises:
        OSError: if the command or the folder is not there.
    """
    with spec.open_output() as output:
        return subprocess.Popen(
            list(spec.command),
            cwd=spec.cwd,
            env=spec.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=tuple(spec.inherited),
            umask=-1 if spec.umask is None else spec.umask,
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


Process: TypeAlias = "ForkedChild | ForkedProcess | subprocess.Popen[bytes]"


def fork_supervised(action: Callable[[], None]) -> ForkedChild:
    """Do something in a copy of this process, in a session of its own, as our child.

    The caller has no other thread, and has closed what must not cross a fork: its database. All
    else that it has open, its locks among it, is closed in the child, whose outputs are ours.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return ForkedChild(pid)
    code = 1
    try:
        os.setsid()
        os.closerange(_FIRST_HANDLE, max(_MOST_HANDLES, os.sysconf("SC_OPEN_MAX")))
        action()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:  # nothing of the caller's, neither its cleaning up nor its loop, goes on in here
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def background_environment(home: Home, theirs: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a background process of ours: little of that of its starter.

    A dispatcher serves everybody who has this home. What its first submitter had in its
    environment, secrets, tools that measure or preload, settings of its project, is no business of
    the others.

    Args:
        home: The one that it works for; by it people see whose process it is.
        theirs: The environment of whom it serves first. What an interpreter reads when it starts
            goes over: our packages are found by it, and jobs that have the same may be forked.
    """
    at_start = variables_at_start(theirs).items()
    return {
        **{name: value for name, value in at_start if not name.startswith(_NEVER)},
        **{name: theirs[name] for name in _FROM_STARTER if name in theirs},
        "VALOR_HOME": str(home.root),
    }


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
        readable(handle, seconds)
    finally:
        os.close(handle)
    return True
