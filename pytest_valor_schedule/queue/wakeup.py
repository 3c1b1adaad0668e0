"""Wake the dispatcher, or a session: through a named pipe into which others put a byte.

Where there can be no such pipe, or nobody writes to it, the dispatcher looks at the queue from time
to time all the same.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import time
from collections.abc import Collection
from pathlib import Path

from pytest_valor_schedule._util import files

_WITHOUT_SECONDS = 0.05


class Wakeup:
    """The end of the pipe from which who is woken reads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with contextlib.suppress(OSError):
            os.mkfifo(path, 0o600)
        self._handle = _open(path, os.O_RDWR)  # to write too: so it never is at its end

    def wait(self, seconds: float, others: Collection[int] = ()) -> None:
        """Return when somebody has woken us since the last time, or after so many seconds.

        Other descriptors end the waiting too when there is anything to be read.
        """
        if self._handle is None:
            time.sleep(min(seconds, _WITHOUT_SECONDS))
        elif self._handle in select.select([self._handle, *others], [], [], seconds)[0]:
            os.read(self._handle, 4096)

    def close(self) -> None:
        """Remove the pipe, which would be in the way of whoever copies the home."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._handle)
            self._handle = None


def wake(path: Path) -> bool:
    """Wake whoever reads from a pipe, if there is anybody; return whether there is."""
    handle = _open(path, os.O_WRONLY)
    if handle is None:
        return False
    with contextlib.suppress(OSError):  # full: nobody needs another byte
        os.write(handle, b"!")
    os.close(handle)
    return True


def _open(path: Path, flags: int) -> int | None:
    with contextlib.suppress(OSError):
        handle = files.opener(path, flags | os.O_NONBLOCK)
        if stat.S_ISFIFO(os.fstat(handle).st_mode):
            return handle
        os.close(handle)
    return None
