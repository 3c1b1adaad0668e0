"""Get the stacks of a process that crashes, or hangs even where it holds the GIL.

faulthandler writes them from C, into a file that the runner and the controller can read. What the
process forks knows nothing of that.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from os import getpid  # as it was, because tests replace that of the module
from pathlib import Path
from typing import IO, Any, NoReturn

from pytest_valor_schedule._util import files

# One that nobody else uses; elsewhere that of a JVM, which means: show your threads.
_SIGNAL = signal.SIGRTMAX - 1 if sys.platform == "linux" else signal.SIGQUIT
_PATIENCE_SECONDS = 1.0


def enable(path: Path, usual: int | None = None) -> IO[bytes] | None:
    """Have this process write its stacks to path at a crash, at `os._exit` and when it is asked.

    Args:
        path: The file.
        usual: The descriptor to which pytest has them written at a crash, for what it forks.

    Returns:
        The open file, to stay open; None if pytest's own faulthandler is switched off.
    """
    if not faulthandler.is_enabled():
        return None
    handle = files.open_to_append(path)
    file = os.fdopen(handle, "ab")
    faulthandler.enable(file)
    faulthandler.register(_SIGNAL, file, all_threads=True)
    os._exit = _with_stacks(os._exit, file, getpid())
    os.register_at_fork(after_in_child=functools.partial(_leave, usual))
    return file


def _with_stacks(leave: Callable[[int], NoReturn], file: IO[bytes], pid: int) -> Callable[..., Any]:
    """Return an `os._exit` that leaves the stacks of a process, as a signal does that ends it.

    Nothing else tells of it: there is no audit event, and no handler is called.
    """

    @functools.wraps(leave)
    def _exit(status: int) -> NoReturn:
        if getpid() == pid:  # not that of a child that was forked from it
            with contextlib.suppress(Exception):
                faulthandler.dump_traceback(file, all_threads=True)
        leave(status)

    return _exit


def _leave(usual: int | None) -> None:
    faulthandler.unregister(_SIGNAL)
    if usual is not None and faulthandler.is_enabled():
        with contextlib.suppress(OSError, ValueError):
            faulthandler.enable(usual)


def read(path: Path) -> str:
    """Return the stacks that were written to path so far."""
    try:
        return files.read(path).decode(errors="replace")
    except OSError:
        return ""


def ask(pid: int, path: Path) -> str:
    """Have the process pid write its stacks to path, and return them; "" if it does not."""
    if pid <= 0 or not path.exists():
        return ""  # the signal would hit others, or end a process that does not expect it
    before = len(read(path))
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, _SIGNAL)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while len(read(path)) == before and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.05)  # for the rest of it
    return read(path)[before:]
