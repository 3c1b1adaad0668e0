"""Keep the environments of jobs that have not ended: a private file for each, gone when it has.

What is secret is in them. The database would keep it in free pages and in its log after the end,
and lose it with itself before.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pytest_valor_schedule._util import files
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.errors import StoreError, unwritable_text

_UNKNOWN_SECONDS = 3600.0
"""Age at which the environment of a job that is not in the queue is none that is about to be."""


@contextlib.contextmanager
def keep(home: Home, job_id: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Keep the environment of a new job, unless the block fails to put the job into the queue.

    Raises:
        FileExistsError: if there is one of that id.
        StoreError: if the disk refuses.
    """
    path = _path(home, job_id)
    try:
        with open(path, "x", encoding="ascii", opener=files.opener) as file:
            file.write(json.dumps(dict(environment)))
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise
    except OSError as error:
        erase(home, job_id)
        raise StoreError(unwritable_text(f"file {path}", error)) from error
    try:
        yield
    except BaseException:
        erase(home, job_id)
        raise


def read(home: Home, job_id: str) -> dict[str, str]:
    """Return the environment of a job that has not ended.

    Raises:
        StoreError: if it is lost.
    """
    try:
        return dict(json.loads(files.read(_path(home, job_id))))
    except (OSError, ValueError, TypeError):
        raise StoreError(
            f"The environment that job {job_id} was to run in is lost; schedule it again."
        ) from None


def is_there(home: Home, job_id: str) -> bool:
    """Return whether there is the environment of a job."""
    return _path(home, job_id).exists()


def erase(home: Home, job_id: str) -> None:
    """Erase the environment of a job."""
    with contextlib.suppress(OSError):
        _path(home, job_id).unlink(missing_ok=True)


def erase_others(home: Home, is_needed: Callable[[str], bool | None], now: float) -> None:
    """Erase what a process left that was killed between a change of the queue and its file.

    A job is needed that has yet to end; of one that the queue does not know, that is None.
    """
    for path in home.environments.glob("*.json"):
        needed = is_needed(path.stem)
        with contextlib.suppress(OSError):
            is_new = now - path.lstat().st_mtime < _UNKNOWN_SECONDS
            if not (is_new if needed is None else needed):
                path.unlink()


def _path(home: Home, job_id: str) -> Path:
    return home.environments / f"{job_id}.json"
