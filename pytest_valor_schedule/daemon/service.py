"""Tell whether a dispatcher serves a home, and start one where it is needed.

Everybody who looks at the queue asks this, so what only a start needs is imported there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from pytest_valor_schedule._util import locks
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.env import JOB_ID_VARIABLE
from pytest_valor_schedule.errors import StoreError, system_error_text
from pytest_valor_schedule.queue import database_file

TYPE_CHECKING: bool = False  # without typing: see cli/__init__
if TYPE_CHECKING:
    from pytest_valor_schedule.model.job import Job
    from pytest_valor_schedule.queue.job_index import JobIndex
    from pytest_valor_schedule.queue.store import JobStore


def call(home: Home, environment: Mapping[str, str] = os.environ) -> None:
    """Have a dispatcher look at the queue now, because it has changed; see `ensure_running`."""
    from pytest_valor_schedule.queue import wakeup

    wakeup.wake(home.wakeup_pipe)
    ensure_running(home, environment)


def ensure_running(home: Home, environment: Mapping[str, str] = os.environ) -> None:
    """Start a dispatcher, with its watcher, unless one runs.

    To lose no wake-up, the caller has written its job before it calls this, and a dispatcher that
    goes, or gives up, looks at the queue once more after it has let go of its locks.

    Args:
        home: The one that it is to serve.
        environment: The one of which it has a part; see `processes.background_environment`.
    """
    if _inside_job_of(home) or is_running(home):
        return
    starting = locks.try_exclusive(home.starting_lock)
    if starting is None:  # another one has just been started, and only imports take their time
        return
    try:
        _start_watcher(home, environment, starting)
    except OSError as error:
        raise StoreError(
            "Nobody could be started to serve the queue, which keeps its jobs: "
            + system_error_text(error)
        ) from error
    finally:
        os.close(starting)


def _start_watcher(home: Home, environment: Mapping[str, str], starting: int) -> None:
    from pytest_valor_schedule.process import processes

    processes.start_detached(
        "daemon.watcher",
        [str(home.root), "0", str(starting)],
        home.schedule,
        home.dispatcher_log,
        processes.background_environment(home, environment),
        inherited=[starting],
    )


def look_after(index: JobIndex) -> None:
    """Start a dispatcher if there is anything for one to do, and none runs."""
    if index.database.read_only or is_running(index.home) or not index.anything_left():
        return
    from pytest_valor_schedule.queue.store import JobStore

    if JobStore(index.home, index.database).anything_to_do():
        ensure_running(index.home)


def refuse_if_unserved(store: JobStore, job: Job) -> None:
    """Raise StoreError where nobody is there to end a job, and we cannot start anybody."""
    if database_file.can_write(store.home.database) or is_running(store.home):
        return
    from pytest_valor_schedule.process.identity import Identity

    if Identity.alive_in(store.claim(job.job_id)) is None:
        raise StoreError(
            f"Job {job.job_id} is {job.status}, and nobody serves the queue in {store.home.root}, "
            "which can only be read here; ask once more when it is used where it can be written."
        )


def is_running(home: Home) -> bool:
    """Return whether a dispatcher serves a home: whether the lock that filelock takes is held."""
    return locks.is_held(home.dispatcher_lock)


def _inside_job_of(home: Home) -> bool:
    """Return whether we are in a job of this home, with which a dispatcher would end."""
    job_id = os.environ.get(JOB_ID_VARIABLE)
    return job_id is not None and home.job_folder(job_id).is_dir()
