"""Lock files of the home by the kernel, which lets go of a lock when its holder ends.

filelock knows exclusive locks only, and its import takes longer than all that a submitter does
with the queue.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from pytest_valor_schedule._util import files
from pytest_valor_schedule.errors import StoreError

_POLL_SECONDS = 0.01


def is_held(path: Path) -> bool:
    """Return whether somebody holds a file's exclusive lock; one that is not there is not made."""
    if not path.exists():
        return False
    handle = _open(path, os.O_RDONLY)  # enough for a look, also where nothing can be written
    with os.fdopen(handle):
        return not _try(handle, fcntl.LOCK_SH, path)


def try_exclusive(path: Path) -> int | None:
    """Return a descriptor that holds a file's exclusive lock, or None if somebody has it."""
    handle = _open(path)
    if _try(handle, fcntl.LOCK_EX, path):
        return handle
    os.close(handle)
    return None


def take_shared(path: Path, patience: float) -> int:
    """Wait for a file's shared lock and return the descriptor that holds it until it is closed.

    Raises:
        StoreError: if somebody has the exclusive lock for longer than patience, in seconds.
    """
    handle = _take(path, fcntl.LOCK_SH, patience, lambda: False)
    assert handle is not None
    return handle


def take_exclusive(path: Path, patience: float, unless: Callable[[], bool]) -> int | None:
    """Wait for a file's exclusive lock, and return None if it is not needed any more.

    Raises:
        StoreError: if somebody has it, or the shared one, for longer than patience, in seconds.
    """
    return _take(path, fcntl.LOCK_EX, patience, unless)


def _take(path: Path, kind: int, patience: float, unless: Callable[[], bool]) -> int | None:
    handle = _open(path)
    try:
        deadline = time.monotonic() + patience
        while not _try(handle, kind, path):
            if unless():
                os.close(handle)
                return None
            if time.monotonic() >= deadline:
                raise StoreError(
                    f"Another process has kept {path} locked for {patience:g} s; try again, and "
                    "if that does not help see what `valor-schedule doctor` says."
                )
            time.sleep(_POLL_SECONDS)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _open(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    try:
        return files.opener(path, flags)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be opened ({error.strerror}); check its permissions, or set VALOR_HOME."
        ) from error


def _try(handle: int, kind: int, path: Path) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreError(
            f"{path} cannot be locked ({error.strerror}): its file system has no locks; set "
            "VALOR_HOME to a folder on a local disk."
        ) from error
    return True
