"""Wait until the disk has room for what a round of a job reports."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon.supervisor import Limits, ProcessExit
from pytest_valor_schedule.model.job import Outcome

_POLL_SECONDS = 1.0
_PATIENCE_SECONDS = 3600.0


def await_room(home: Home, limits: Limits, cancelled: Callable[[], bool]) -> ProcessExit | None:
    """Return None when there is room, or how the job was ended while there was none.

    Args:
        home: The folder on the disk.
        limits: The job's.
        cancelled: Whether somebody asked to end the job.

    Raises:
        OSError: if there is none for too long.
    """
    patience = time.monotonic() + _PATIENCE_SECONDS
    while home.is_full():
        now = time.monotonic()
        if cancelled():
            return ProcessExit(code=None, stop=Outcome.CANCELLED, stopped_at=now)
        if now >= limits.deadline:
            return ProcessExit(code=None, stop=Outcome.TIMED_OUT, stopped_at=now)
        if now >= patience:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        time.sleep(_POLL_SECONDS)
    return None
