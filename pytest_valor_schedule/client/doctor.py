"""Find what is wrong with a home, and how it can be mended."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pytest_valor_schedule.client import settings_check
from pytest_valor_schedule.client.endpoint import Response, errors_as_answers
from pytest_valor_schedule.client.wait import wait_until_ended
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service
from pytest_valor_schedule.env import JOB_ID_VARIABLE
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import JobStatus
from pytest_valor_schedule.process import kill
from pytest_valor_schedule.process.identity import Identity
from pytest_valor_schedule.queue import database_file, job_records, recovery
from pytest_valor_schedule.queue.job_row import job_in, read_record
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.record import record_file

_LITTLE_BYTES = 100 * 1024 * 1024
_NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "fuse.sshfs", "fuse.gluster")
_REPAIR_PATIENCE_SECONDS = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Describe something that is wrong.

    Attributes:
        text: What, and what can be done.
        repair: What mends it, if we can.
    """

    text: str
    repair: Callable[[], object] | None = None


@errors_as_answers
def examine_home(*, repair: bool = False) -> Response:
    """Look for what is wrong with the home.

    Args:
        repair: Mend what can be mended.

    Returns:
        `home`, `versions`, and `findings`: for each `text`, `repairable`, and `repaired`, and
        where its repair failed `error`; or `error`.
    """
    home = Home.find(os.environ)
    findings = [_answer(finding, repair) for finding in examine(home)]
    return {"home": str(home.root), "versions": versions(), "findings": findings}


def _answer(finding: Finding, repair: bool) -> Response:
    answer = {"text": finding.text, "repairable": finding.repair is not None, "repaired": False}
    if not repair or finding.repair is None:
        return answer
    try:
        finding.repair()
    except (ScheduleError, OSError) as error:
        return {**answer, "error": str(error)}
    return {**answer, "repaired": True}


def examine(home: Home) -> Iterator[Finding]:
    """Yield what is wrong with a home; the queue is looked at only if its file is whole.

    Raises:
        StoreError: if the home cannot be used at all.
    """
    home.make()
    yield from _permissions(home)
    yield from _disk(home)
    if database_file.can_write(home.database):
        yield from _locks(home)
    else:
        yield Finding(
            f"{home.root} can only be read here, so that nothing can be scheduled or changed; see "
            "how its disk is mounted and whose it is, or set VALOR_HOME."
        )
    yield from _configuration(home)
    if home.database.exists() and not database_file.is_whole(home.database):
        yield Finding(f"The database {home.database} is damaged.", partial(_rebuild, home))
        return
    with JobStore(home) as store:
        jobs = store.jobs()
        yield from _records_without_job(store, {job.job_id for job in jobs})
        for job in jobs:
            yield from _job(store, job)
        yield from _leftovers({job.job_id for job in jobs if job.status.is_final})


def _permissions(home: Home) -> Iterator[Finding]:
    for path in (home.root, *home.root.rglob("*")):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(status.st_mode):
            if path not in (home.root, home.config):  # these may lead elsewhere
                yield Finding(f"{path} is a symbolic link; it is not followed.")
        elif status.st_mode & 0o077 and path != home.config:
            mode = status.st_mode & 0o700
            yield Finding(f"{path} is open to others.", partial(path.chmod, mode))


def _disk(home: Home) -> Iterator[Finding]:
    kind = _file_system(home.root)
    if kind.startswith(_NETWORK):
        yield Finding(
            f"{home.root} is on a network file system ({kind}), where locks are not to be relied "
            "on; set VALOR_HOME to a local folder."
        )
    free = home.free_bytes()
    if free < _LITTLE_BYTES:
        yield Finding(
            f"The disk of {home.root} has only {free / 2**20:.1f} MB left; make room, for example "
            "by `valor-schedule prune --keep-days 7`."
        )


def _file_system(folder: Path) -> str:
    """Return the type of the file system of a folder, such as "ext4"; "" if it is not known."""
    best, kind = "", ""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        point, type_ = line.split()[1:3]
        if len(point) >= len(best) and folder.resolve().is_relative_to(point):
            best, kind = point, type_
    return kind


def _locks(home: Home) -> Iterator[Finding]:
    with tempfile.NamedTemporaryFile(dir=home.schedule, prefix=".doctor-") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
            with Path(file.name).open("rb") as other:
                fcntl.flock(other.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # as it should be
        except OSError:
            pass
    yield Finding(f"Locks do not work in {home.schedule}; set VALOR_HOME to a local folder.")


def _configuration(home: Home) -> Iterator[Finding]:
    try:
        for problem in settings_check.problems(home, os.environ):
            yield Finding(problem)
    except ScheduleError as error:
        yield Finding(str(error))


def _rebuild(home: Home) -> None:
    with JobStore(home) as store:
        store.database.mend()


def _records_without_job(store: JobStore, job_ids: set[str]) -> Iterator[Finding]:
    for path in sorted(store.home.results.glob("*.json")):
        if path.stem in job_ids:
            continue
        job_and_tests = read_record(path)
        if job_and_tests is None:
            text = f"The record {path} cannot be read, and the queue knows no such job."
            yield Finding(text, partial(record_file.set_aside, path))
        else:
            text = f"The queue does not know the job of the record {path}."
            yield Finding(text, partial(_adopt, store, *job_and_tests))


def _adopt(store: JobStore, job: Job, tests: list[str]) -> None:
    store.adopt(recovery.row_of(store.home, job, tests))


def _job(store: JobStore, job: Job) -> Iterator[Finding]:
    path = store.home.record(job.job_id)
    document = record_file.read(path)
    is_readable = document is not None and job_in(document) is not None
    if not is_readable or (job.status.is_final and not record_file.is_whole(document or {})):
        text = f"The record {path} is damaged or gone."
        yield Finding(text, partial(_publish, store, job))
    if job.status is JobStatus.RUNNING and Identity.alive_in(store.claim(job.job_id)) is None:
        text = f"The runner of job {job.job_id} is dead."
        yield Finding(text, partial(_end, store, job))


def _publish(store: JobStore, job: Job) -> None:
    if job.status.is_final:
        job_records.record_of(store, job)
    else:
        store.publish(job, store.tests(job.job_id))


def _end(store: JobStore, job: Job) -> None:
    service.look_after(store)
    wait_until_ended(store, job.job_id, _REPAIR_PATIENCE_SECONDS)


def _leftovers(past_jobs: set[str]) -> Iterator[Finding]:
    for pid, job_id in kill.pids_with_variable(JOB_ID_VARIABLE):
        if job_id in past_jobs and pid != os.getpid():
            text = f"Process {pid} was left behind by job {job_id}, which has ended."
            yield Finding(text, partial(kill.end_all_with_variable, JOB_ID_VARIABLE, job_id))


def versions() -> str:
    """Return the versions of this package, of what it depends on, and of Python."""
    import sqlite3
    from importlib.metadata import version

    names = ("pytest-valor-schedule", "pytest", "pytest-xdist", "execnet", "filelock")
    packages = [f"{name} {version(name)}" for name in names]
    python = f"Python {sys.version.split()[0]}"
    return ", ".join([*packages, f"SQLite {sqlite3.sqlite_version}", python])
