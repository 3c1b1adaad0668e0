"""Tell a process that the one it works for has died, however that happened.

It holds the read end of a pipe whose write end only the other has; this is portable POSIX.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import sys
import threading
import types
from collections.abc import Iterator


@contextlib.contextmanager
def open_death_pipe() -> Iterator[int]:
    """Give the read end of a pipe that reaches its end when this process dies or the block ends."""
    read_end, write_end = os.pipe()
    try:
        yield read_end
    finally:
        os.close(read_end)
        os.close(write_end)


def has_ended(read_end: int) -> bool:
    """Return whether the one at the other end has died."""
    return bool(select.select([read_end], [], [], 0)[0])


def die_with(read_end: int) -> None:
    """End this process's whole group when the pipe ends. The descriptor is not handed on.

    Linux does it by itself, by a signal for input on the descriptor, so that there is no thread of
    ours among those of the tests; elsewhere a thread waits.
    """
    os.set_inheritable(read_end, False)
    if not _have_killed(read_end):
        # Without this module, whose loader holds pytest's config: what a thread has is not
        # finalised.
        wait = types.FunctionType(_wait_for_the_end.__code__, {"os": os, "signal": signal})
        threading.Thread(
            target=wait, args=(read_end,), daemon=True, name="valor-schedule-death-pipe"
        ).start()


def _have_killed(read_end: int) -> bool:
    """Have the system kill the group at the end of the pipe; return whether it does that."""
    if sys.platform != "linux":
        return False
    try:
        fcntl.fcntl(read_end, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(read_end, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(read_end, fcntl.F_GETFL)
        fcntl.fcntl(read_end, fcntl.F_SETFL, flags | os.O_ASYNC)
    except OSError:  # a sandbox that speaks for the kernel
        return False
    if has_ended(read_end):  # before there was anybody to be told
        os.killpg(0, signal.SIGKILL)
    return True


def _wait_for_the_end(read_end: int) -> None:
    while os.read(read_end, 1):
        pass
    os.killpg(0, signal.SIGKILL)
