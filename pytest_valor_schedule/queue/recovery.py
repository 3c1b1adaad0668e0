"""Fill a new database after the old one was damaged or deleted, from records and event logs.

Of the history of tests and runs it gets what can be read of the file that was set aside last.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.model.job import Job, job_record
from pytest_valor_schedule.model.job_terms import JobStatus, Outcome
from pytest_valor_schedule.model.result import Summary, TestOutcome, TestResult
from pytest_valor_schedule.process.identity import Identity
from pytest_valor_schedule.queue import environments
from pytest_valor_schedule.queue.job_row import JobRow, insert, read_record
from pytest_valor_schedule.record import event_log, record_file

_ENVIRONMENT_LOST = (
    "The database of the queue was damaged before this job could start, and the environment that "
    "it was to run in is lost too; schedule it again."
)


def refill(home: Home, connection: sqlite3.Connection, aside: Path | None) -> str:
    """Fill a new database, inside a transaction, by the records of a home and the damaged one.

    Returns:
        What to tell about it; "" if there was nothing to rebuild.
    """
    for table, places in (("durations", "?, ?, ?, ?, ?, ?"), ("runs", "?, ?, ?, ?, ?, ?, ?")):
        query = f"INSERT OR IGNORE INTO {table} VALUES ({places})"
        connection.executemany(query, _salvage(aside, table))
    records = filter(None, map(read_record, sorted(home.results.glob("*.json"))))
    jobs = [row_of(home, *record) for record in records]  # the oldest first
    for row in jobs:
        insert(connection, row)
    if not jobs and aside is None:
        return ""
    given_up = sum(row.job.explanation == _ENVIRONMENT_LOST for row in jobs)
    lost = f" {given_up} of the jobs lost their environment and will not run." if given_up else ""
    noun = "record" if len(jobs) == 1 else "records"
    return f"The queue was rebuilt from {len(jobs)} {noun}.{lost}"


def row_of(home: Home, job: Job, tests: Sequence[str]) -> JobRow:
    """Return a job of a record as the queue keeps it.

    One that has not started and whose environment is lost is ended, with a record that says so.
    """
    if job.status is JobStatus.SCHEDULED and not environments.is_there(home, job.job_id):
        job = _give_up(home, job, tests)
    claim = _claim(home, job) if job.status is JobStatus.RUNNING else None
    return JobRow(job=job, tests=tests, claim=claim)


def _give_up(home: Home, job: Job, tests: Sequence[str]) -> Job:
    """End a job that cannot run any more, with a record that says so."""
    results = [TestResult(nodeid=nodeid, outcome=TestOutcome.NOT_RUN) for nodeid in tests]
    result = dataclasses.replace(
        job,
        status=JobStatus.COMPLETED,
        outcome=Outcome.ERROR,
        explanation=_ENVIRONMENT_LOST,
        completed_at=time.time(),
        summary=Summary.of(results, 0.0),
    )
    texts = (result.to_json() for result in results)
    record_file.write(home.record(job.job_id), job_record(result, tests), texts)
    return result


def _claim(home: Home, job: Job) -> str | None:
    """Return the claim that the runner of a job wrote down when it began."""
    claim = None
    for reader in event_log.readers(home.job_folder(job.job_id), f"{job.attempt}.0"):
        for event in reader.read():
            text = event.get("claim") if event["kind"] == "claim" else None
            with contextlib.suppress(ValueError, TypeError):  # a test may have written it
                claim = Identity.from_text(text).to_text() if text else claim
    return claim


def _salvage(aside: Path | None, table: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows that can be read from both ends of a table towards its damage."""
    if aside is None:
        return
    for order in ("ASC", "DESC"):
        with contextlib.suppress(sqlite3.Error):
            name = f"{aside.as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(name, uri=True)) as connection:
                yield from connection.execute(f"SELECT * FROM {table} ORDER BY project {order}")
