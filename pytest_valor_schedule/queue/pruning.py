"""Throw away what is old: files first, so that it works on a full disk."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from pytest_valor_schedule._util.log import bound_log, warning
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.retention import (
    DAY_SECONDS,
    Remains,
    Retention,
    logs_to_prune,
    records_to_prune,
)
from pytest_valor_schedule.queue.history import History
from pytest_valor_schedule.queue.store import JobStore

_MOST_BYTES_OF_DISPATCHER = 10 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What went, or would go: job ids, other files, for how many tests durations, and bytes."""

    logs: tuple[str, ...]
    records: tuple[str, ...]
    others: tuple[str, ...]
    durations: int
    bytes: int


def prune(store: JobStore, retention: Retention, now: float, *, dry_run: bool = False) -> Pruned:
    """Throw away logs, event logs, records and durations that are too old or too many.

    No job that has not ended is touched. A dry run only says what would go.
    """
    home = store.home
    jobs = store.jobs()
    remains = list(_remains(home, jobs))
    with_logs = [job for job in remains if job.log_bytes]
    records = records_to_prune(remains, retention, now)
    logs = logs_to_prune(with_logs, retention, now)
    logs += [job.job_id for job in with_logs if job.job_id in {*records} - {*logs}]
    others = list(_old_scraps(home, retention, now))
    size = sum(job.log_bytes for job in remains if job.job_id in {*logs})
    size += sum(map(_size, (*others, *map(home.record, records))))
    history_before = now - retention.keep_history_days * DAY_SECONDS
    history = History(store.database)
    durations = history.count_outdated(history_before)
    if not dry_run:
        _remove(home, logs, [*others, *map(home.record, records)])
        store.forget(records)
        history.forget(history_before)
        store.drop_environments(now)
        bound_log(home.dispatcher_log, _MOST_BYTES_OF_DISPATCHER)
    names = tuple(path.name for path in others)
    return Pruned(
        logs=tuple(logs), records=tuple(records), others=names, durations=durations, bytes=size
    )


def prune_quietly(store: JobStore, now: float) -> None:
    """Prune by the settings of the home; that this fails is no harm to the queue."""
    try:
        prune(store, Retention.of(store.home.settings()), now)
    except (ScheduleError, OSError) as error:
        warning(f"pruning: {error}")


def _remains(home: Home, jobs: Iterable[Job]) -> Iterator[Remains]:
    """Yield what there is of ended jobs, and of folders that belong to no job."""
    ids = {job.job_id for job in jobs}
    for job in jobs:
        if job.status.is_final:
            size = _size_of_folder(home.job_folder(job.job_id))
            ended_at = job.completed_at or job.created_at
            yield Remains(job_id=job.job_id, ended_at=ended_at, log_bytes=size)
    for folder in home.jobs.iterdir():
        if folder.name not in ids and not home.record(folder.name).exists():
            with contextlib.suppress(OSError):
                ended_at, size = folder.lstat().st_mtime, _size_of_folder(folder)
                yield Remains(job_id=folder.name, ended_at=ended_at, log_bytes=size)


def _old_scraps(home: Home, retention: Retention, now: float) -> Iterator[Path]:
    """Yield what was set aside or left half written longer ago than logs are kept."""
    for pattern, folder in (
        ("queue.db.damaged-*", home.schedule),
        ("*.json.damaged", home.results),
        (".*.tmp", home.results),
    ):
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                if now - path.lstat().st_mtime >= max(1.0, retention.keep_logs_days) * DAY_SECONDS:
                    yield path


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _size_of_folder(folder: Path) -> int:
    try:
        return sum(map(_size, folder.iterdir())) if not folder.is_symlink() else 0
    except OSError:
        return 0


def _remove(home: Home, logs: Iterable[str], files: Iterable[Path]) -> None:
    for job_id in logs:
        shutil.rmtree(home.job_folder(job_id), ignore_errors=True)
    for path in files:
        with contextlib.suppress(OSError):
            path.unlink()
