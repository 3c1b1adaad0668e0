"""Turn a job into a row of the queue, and back; or a record into a job."""

from __future__ import annotations

import dataclasses
import functools
import json
import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_valor_schedule._util.document import field_names
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import document_in, short_id
from pytest_valor_schedule.queue.database import storable
from pytest_valor_schedule.record import record_file

_MOST_REMEMBERED = 10_000  # jobs: whoever looks again, as the dispatcher, reads the same rows


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job with all that the queue keeps of it."""

    job: Job
    tests: Sequence[str]
    claim: str | None = None


def insert(connection: sqlite3.Connection, row: JobRow) -> None:
    """Add a job to a database.

    Raises:
        sqlite3.IntegrityError: if its id is taken.
    """
    job = row.job
    values = (
        job.job_id,
        short_id(job.job_id),
        job.status,
        storable(job.cwd),
        document_of(job),
        row.claim,
        pack_tests(row.tests),
    )
    columns = "id, tail, status, folder, document, claim, tests"
    connection.execute(f"INSERT INTO jobs ({columns}) VALUES (?,?,?,?,?,?,?)", values)


def document_of(job: Job, before: str | None = None) -> str:
    """Return a job as the text of its row, in place of the one before.

    What a newer version of this package keeps in that, and we do not know, stays.
    """
    names = field_names(Job) | {"command"}
    fields = document_in(before) if before is not None else {}
    others = {name: value for name, value in fields.items() if name not in names}
    return json.dumps({**others, **job.to_json()})


@functools.lru_cache(_MOST_REMEMBERED)
def job_of(document: str) -> Job | None:
    """Return the job of a row, or None if it cannot be read: one bad row must not stop the rest."""
    return job_in(document_in(document))


def job_in(document: dict[str, Any]) -> Job | None:
    """Return the job that a row or a record describes, or None if that is none."""
    try:
        return Job.from_json(document)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def pack_tests(tests: Sequence[str]) -> bytes:
    """Return node ids as a row keeps them."""
    return zlib.compress(json.dumps(list(tests)).encode(), 1)


def unpack_tests(tests: Any) -> list[str]:
    """Return the node ids that `pack_tests` packed."""
    return [str(nodeid) for nodeid in json.loads(zlib.decompress(tests))]


def read_record(path: Path) -> tuple[Job, list[str]] | None:
    """Return the job and the node ids that a record tells of; None if it cannot be read."""
    document = record_file.read(path) or {}
    job, tests = job_in(document), document.get("tests_to_run")
    if job is None or job.job_id != path.stem or not isinstance(tests, list):
        return None
    return job, [str(nodeid) for nodeid in tests]
