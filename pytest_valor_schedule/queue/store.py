"""Keep the queue and the index of all jobs: the database decides, the record publishes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_valor_schedule.errors import RecordError
from pytest_valor_schedule.model.job import Job, job_record
from pytest_valor_schedule.model.job_terms import JobStatus
from pytest_valor_schedule.queue import environments
from pytest_valor_schedule.queue.job_index import JobIndex
from pytest_valor_schedule.queue.job_row import (
    JobRow,
    document_of,
    insert,
    job_of,
    read_record,
    unpack_tests,
)
from pytest_valor_schedule.record import record_file

_SHORT_PATIENCE_SECONDS = 0.1


class JobStore(JobIndex):
    """All jobs of one home. Open it for a short while, or one per process."""

    def add(
        self,
        job: Job,
        tests: Sequence[str],
        environment: Mapping[str, str],
        claim: str | None = None,
    ) -> bool:
        """Put a new job into the queue and publish its record.

        Args:
            job: The job.
            tests: The node ids of its tests.
            environment: That in which it was scheduled.
            claim: The process that has its session, if there is one.

        Returns:
            False if the job's id is taken; nothing was changed then.
        """
        try:
            # The record is written before the others have to wait for us, and put in place inside
            # the transaction: a job is acknowledged with it or not at all.
            with (
                environments.keep(self.home, job.job_id, environment),
                record_file.prepare(self.home.record(job.job_id), job_record(job, tests)) as put,
                self.database.transaction() as connection,
            ):
                insert(connection, JobRow(job=job, tests=tests, claim=claim))
                put()
        except (sqlite3.IntegrityError, FileExistsError):
            return False
        return True

    def publish(self, job: Job, tests: Sequence[str]) -> None:
        """Write the record of a job that has not ended by itself."""
        record_file.write(self.home.record(job.job_id), job_record(job, tests))

    def publish_if_scheduled(self, job_id: str) -> None:
        """Write the record of a job that still waits; nobody can start it at the same time."""
        with self.database.transaction():
            job = self.get(job_id)
            if job.status is JobStatus.SCHEDULED:
                self.publish(job, self.tests(job_id))

    def find(self, text: object) -> Job:
        """Return the job that a full id, its last part, or an unambiguous prefix names.

        Raises:
            UnknownJobError: if there is none, or more than one.
        """
        return self.get(self.find_id(text))

    def get(self, job_id: str) -> Job:
        """Return the job of a full id."""
        return self._job(job_id, self.value(job_id, "document"))

    def _job(self, job_id: str, document: str) -> Job:
        job = self._readable(job_id, document)
        if job is None:
            raise RecordError(
                f"Neither the queue's entry nor the record of job {job_id} can be read; "
                "its event logs are still in the folder that `valor-schedule doctor` names."
            )
        return job

    def _readable(self, job_id: str, document: str) -> Job | None:
        """Return the job of a row, or else that of its record: one bad row must not stop all."""
        job = job_of(document)
        if job is None and (record := read_record(self.home.record(job_id))):
            job = record[0]
        return job

    def tests(self, job_id: str) -> list[str]:
        """Return the node ids of a job's tests."""
        blob = self.value(job_id, "tests")
        try:
            return unpack_tests(blob)
        except (ValueError, TypeError, zlib.error):
            if record := read_record(self.home.record(job_id)):
                return record[1]
        raise RecordError(f"The list of the tests of job {job_id} cannot be read.")

    def drop_environments(self, now: float) -> None:
        """Erase environments that nobody needs; see `environments`."""
        query = "SELECT status FROM jobs WHERE id = ?"

        def is_needed(job_id: str) -> bool | None:
            row = connection.execute(query, (job_id,)).fetchone()
            return None if row is None else not JobStatus(row[0]).is_final

        with self.database.reading() as connection:
            environments.erase_others(self.home, is_needed, now)

    def claim(self, job_id: str) -> str | None:
        """Return the text that names the process which runs a job."""
        claim: str | None = self.value(job_id, "claim")
        return claim

    def progress(self, job_id: str) -> dict[str, Any] | None:
        """Return how far a running job is, as its runner last wrote it."""
        text = self.value(job_id, "progress")
        return None if text is None else dict(json.loads(text))

    def cancel_requested(self, job_id: str) -> bool:
        """Return whether somebody wants the job to end."""
        return bool(self.value(job_id, "cancel_requested"))

    def jobs(self, status: JobStatus | None = None, limit: int = -1) -> list[Job]:
        """Return the newest jobs first, all or those of a status; limit -1 means no limit."""
        return self.jobs_of(self.documents(status, limit))

    def jobs_of(self, rows: Iterable[tuple[str, str]]) -> list[Job]:
        """Return the jobs of rows as `documents` has them, but for those that cannot be read."""
        return [job for row in rows if (job := self._readable(*row)) is not None]

    def anything_to_do(self) -> bool:
        """Return whether any job runs, or is queued and may start."""
        return bool(self.jobs(JobStatus.RUNNING)) or self.anything_may_start(self.queue())

    def anything_may_start(self, queue: Iterable[Job]) -> bool:
        """Return whether one of the scheduled jobs is neither held nor stopped by a pause."""
        return not self.home.pause_marker.exists() and any(not job.held for job in queue)

    def queue(self) -> list[Job]:
        """Return the scheduled jobs, oldest first."""
        return self.jobs(JobStatus.SCHEDULED)[::-1]

    def change(
        self,
        job_id: str,
        expected: JobStatus,
        if_attempt: int | None = None,
        claim: str | None = None,
        **changes: Any,
    ) -> Job | None:
        """Change a job that is still in the expected status.

        Args:
            job_id: A full id.
            expected: The status that the job must have.
            if_attempt: The attempt that must still be the current one, if it matters.
            claim: The process that runs it from now on.
            changes: New values of the job's fields.

        Returns:
            The changed job, or None if it stood otherwise, in which case nothing was changed.
        """
        with self.database.transaction() as connection:
            query = "SELECT document FROM jobs WHERE id = ? AND status = ?"
            row = connection.execute(query, (job_id, expected)).fetchone()
            before = self._job(job_id, row[0]) if row else None
            if before is None or if_attempt not in (None, before.attempt):
                return None
            job = dataclasses.replace(before, **changes)
            connection.execute(
                "UPDATE jobs SET status = ?, document = ?, claim = coalesce(?, claim) WHERE id = ?",
                (job.status, document_of(job, row[0]), claim, job_id),
            )
        if job.status.is_final:
            environments.erase(self.home, job_id)
        return job

    def set_progress(self, job_id: str, progress: Mapping[str, Any]) -> None:
        """Keep how far a running job is; not at the price of waiting for others who write."""
        with self.database.transaction(at_most=_SHORT_PATIENCE_SECONDS) as connection:
            values = (json.dumps(dict(progress)), job_id)
            connection.execute("UPDATE jobs SET progress = ? WHERE id = ?", values)

    def request_cancel(self, job_id: str) -> None:
        """Ask the runner of a job to end it."""
        with self.database.transaction() as connection:
            connection.execute("UPDATE jobs SET cancel_requested = 1 WHERE id = ?", (job_id,))

    def adopt(self, row: JobRow) -> None:
        """Take a job that only has a record into the index, unless it is there."""
        with contextlib.suppress(sqlite3.IntegrityError), self.database.transaction() as connection:
            insert(connection, row)

    def forget(self, job_ids: Iterable[str]) -> None:
        """Take jobs that have ended out of the index."""
        query = "DELETE FROM jobs WHERE id = ? AND status IN (?, ?)"
        final = [str(status) for status in JobStatus if status.is_final]
        with self.database.transaction() as connection:
            connection.executemany(query, [(job_id, *final) for job_id in job_ids])
