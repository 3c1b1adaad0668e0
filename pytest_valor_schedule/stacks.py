"""Stacks of a process that crashes, or hangs even where it holds the GIL.

faulthandler writes them from C, into a file that the runner and the controller can read.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import time
from pathlib import Path
from typing import IO

from pytest_valor_schedule import files

_SIGNAL = signal.SIGQUIT  # as a JVM: show your threads
_PATIENCE_SECONDS = 1.0


def enable(path: Path) -> IO[bytes] | None:
    """Have this process write its stacks to path at a crash and at SIGQUIT.

    Returns:
        The open file, to be kept; None if pytest's own faulthandler is switched off.
    """
    if not faulthandler.is_enabled():
        return None
    handle = files.open_to_append(path)
    file = os.fdopen(handle, "ab")
    faulthandler.enable(file)
    faulthandler.register(_SIGNAL, file, all_threads=True)
    return file


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
