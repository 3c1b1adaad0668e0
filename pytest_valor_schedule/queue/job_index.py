"""Look jobs up in the queue: by id, folder or status, as rows and not as jobs.

Apart from the store, whose imports would take longer than all that is shown of jobs.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.errors import UnknownJobError
from pytest_valor_schedule.model.job_terms import JobStatus, ended_job
from pytest_valor_schedule.queue.database import Database, storable

TYPE_CHECKING: bool = False  # without typing: see cli/__init__
if TYPE_CHECKING:
    from typing import Any, Self

_MOST_ROWS = 2**63 - 1
_ID_TEXT = r"[0-9a-f][0-9a-f-]{0,31}"


class JobIndex:
    """The rows of all jobs of one home. Open it for a short while, or one per process."""

    def __init__(self, home: Home, database: Database | None = None) -> None:
        """Open the queue of a home, or look at a database that is open."""
        self.home = home
        if database is None:
            home.make()
            database = Database(home.database, self._refill)
        self.database = database

    def _refill(self, connection: sqlite3.Connection, aside: Path | None) -> str:
        from pytest_valor_schedule.queue import recovery  # here, because a queue is seldom damaged

        return recovery.refill(self.home, connection, aside)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def find_id(self, text: object) -> str:
        """Return the id of the job that a full id, its last part, or an unambiguous prefix names.

        Raises:
            UnknownJobError: if there is none, or more than one.
        """
        part = text.strip().lower() if isinstance(text, str) else ""
        ids = self._matching(part) if re.fullmatch(_ID_TEXT, part) else []
        if not ids:
            raise UnknownJobError(
                f"There is no job {text!r}; `valor-schedule list` shows the jobs there are."
            )
        if len(ids) > 1:
            raise UnknownJobError(
                f"{text!r} fits more than one job ({', '.join(ids[:3])}); give more of the id."
            )
        return ids[0]

    def _matching(self, part: str) -> list[str]:
        above = part[:-1] + chr(ord(part[-1]) + 1)  # the first text past all with this prefix
        queries = (
            ("id = ?", (part,)),
            ("tail = ?", (part,)),
            ("(id >= ? AND id < ?) OR (tail >= ? AND tail < ?)", (part, above) * 2),
        )
        with self.database.reading() as connection:
            for condition, values in queries:
                query = f"SELECT id FROM jobs WHERE {condition} ORDER BY seq DESC LIMIT 4"
                if ids := [row["id"] for row in connection.execute(query, values)]:
                    return ids
        return []

    def find_ended(self, text: object) -> tuple[str, dict[str, Any] | None]:
        """Return the id of a job as `find_id` does, and its public fields if it has ended."""
        job_id = self.find_id(text)
        return job_id, ended_job(self.value(job_id, "document"))

    def newest_from(self, folder: str) -> str:
        """Return the id of the newest job whose working directory is folder.

        Raises:
            UnknownJobError: if there is none.
        """
        query = "SELECT id FROM jobs WHERE folder = ? ORDER BY seq DESC LIMIT 1"
        with self.database.reading() as connection:
            row = connection.execute(query, (storable(folder),)).fetchone()
        if row is None:
            raise UnknownJobError(
                f"No job was scheduled from {folder}; name one that `valor-schedule list` shows."
            )
        return str(row["id"])

    def value(self, job_id: str, column: str) -> Any:
        """Return what a column has of a job."""
        with self.database.reading() as connection:
            query = f"SELECT {column} FROM jobs WHERE id = ?"
            row = connection.execute(query, (job_id,)).fetchone()
        if row is None:
            raise UnknownJobError(f"There is no job {job_id!r}.")
        return row[0]

    def documents(self, status: JobStatus | None = None, limit: int = -1) -> list[tuple[str, str]]:
        """Return ids and documents of the newest jobs first, all or those of a status.

        Args:
            status: Which; None for all.
            limit: How many; -1 for all.
        """
        where, values = _where(status)
        query = f"SELECT id, document FROM jobs {where} ORDER BY seq DESC LIMIT ?"
        with self.database.reading() as connection:
            rows = connection.execute(query, (*values, min(limit, _MOST_ROWS))).fetchall()
        return [(row[0], row[1]) for row in rows]

    def count(self, status: JobStatus | None = None) -> int:
        """Return how many jobs there are, or are of a status."""
        where, values = _where(status)
        with self.database.reading() as connection:
            query = f"SELECT coalesce(sum(jobs), 0) FROM totals {where}"
            return int(connection.execute(query, values).fetchone()[0])

    def anything_left(self) -> bool:
        """Return whether any job has yet to end."""
        query = "SELECT 1 FROM jobs WHERE status IN (?, ?) LIMIT 1"
        with self.database.reading() as connection:
            row = connection.execute(query, (JobStatus.SCHEDULED, JobStatus.RUNNING)).fetchone()
        return row is not None


def _where(status: JobStatus | None) -> tuple[str, Sequence[str]]:
    return ("WHERE status = ?", (status,)) if status else ("", ())
