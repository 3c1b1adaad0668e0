"""Define a job, and how it ended, as JSON. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from pytest_valor_schedule._util import clock
from pytest_valor_schedule._util.document import check_types, own_fields, without_empty
from pytest_valor_schedule.model.job_terms import JobStatus, Outcome, Priority, says_how_it_ended
from pytest_valor_schedule.model.result import Summary

SCHEMA_VERSION = 1
"""Version of a record. A reader ignores the keys of newer versions that it does not know."""

NEEDED_PLUGINS = ("-p", "xdist", "-p", "valor_schedule")
"""Arguments by which a pytest has our plugins, also where autoloading is off or addopts say no."""

_TIMES = ("created_at", "started_at", "completed_at")
_TUPLES = ("slots", "collection_lines", "terminal_size")
"""The fields of a job that are lists in JSON, and may be missing."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of pytest that was handed over. Times are seconds since the epoch.

    It is copied by `dataclasses.replace` and never mutated; what is only of the moment (process
    ids, progress) is not part of it.
    """

    job_id: str
    specification: str
    launcher: tuple[str, ...]
    arguments: tuple[str, ...]
    cwd: str
    rootdir: str
    interpreter: str
    priority: Priority
    max_workers: int
    timeout_minutes: float
    test_count: int
    estimated_seconds: float
    created_at: float
    notification_chat_id: str | None = None
    status: JobStatus = JobStatus.SCHEDULED
    held: bool | None = None
    attempt: int = 0
    workers: int | None = None
    slots: tuple[int, ...] | None = None
    estimated_memory_bytes: int | None = None
    estimated_from_runs: int | None = None
    peak_memory_bytes: int | None = None
    umask: int | None = None
    chosen_by_cache: bool | None = None
    test_timeout_seconds: float | None = None
    stall_seconds: float | None = None
    log_mb: float | None = None
    order: str | None = None
    confirm_failures: int | None = None
    flaky_passes: bool | None = None
    fork_workers: bool | None = None
    random_seed: int | None = None
    rerun_of: str | None = None
    junit_path: str | None = None
    measures_coverage: bool | None = None
    shows_workers: bool | None = None
    deselected: int | None = None
    collection_lines: tuple[str, ...] | None = None
    terminal_size: tuple[int, ...] | None = None
    useful_workers: int | None = None
    started_at: float | None = None
    completed_at: float | None = None
    outcome: Outcome | None = None
    explanation: str | None = None
    exit_code: int | None = None
    rounds: int | None = None
    ran_in: str | None = None
    not_in_session: str | None = None
    summary: Summary | None = None

    @property
    def worker_demand(self) -> int:
        """How many workers can be of use: no more than there are tests, or than pay."""
        most = min(self.max_workers, self.useful_workers or self.max_workers)
        return max(1, min(most, self.test_count))

    @property
    def has_history(self) -> bool:
        """Whether its estimate is more than a guess; one of an older version does not say."""
        return self.estimated_from_runs != 0

    @property
    def command(self) -> tuple[str, ...]:
        """What starts the job's pytest."""
        return self.command_with()

    def command_with(self, *more: str) -> tuple[str, ...]:
        """Return it with more options; our plugins are among them in case autoloading is off."""
        workers = str(self.workers or self.worker_demand)
        seed = () if self.random_seed is None else (f"--randomly-seed={self.random_seed}",)
        return (*self.launcher, *NEEDED_PLUGINS, "-n", workers, *seed, *more, *self.arguments)

    def to_json(self) -> dict[str, Any]:
        """Return the fields that have a value, times as ISO 8601 text."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in _TIMES:
            fields[name] = clock.to_text(fields[name])
        fields["launcher"], fields["arguments"] = list(self.launcher), list(self.arguments)
        fields["command"] = list(self.command)
        for name in _TUPLES:
            fields[name] = fields[name] and list(fields[name])
        fields["summary"] = self.summary and self.summary.to_json()
        plain = ((name, str(v) if isinstance(v, StrEnum) else v) for name, v in fields.items())
        return without_empty(plain)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Job:
        """Return the job that `to_json` wrote; keys of a newer version are ignored.

        Raises:
            KeyError, TypeError, ValueError: if the document is not that of a job.
        """
        fields = own_fields(cls, document)
        for name in _TIMES:
            fields[name] = clock.from_text(fields.get(name))
        fields["launcher"] = tuple(fields["launcher"])
        fields["arguments"] = tuple(fields["arguments"])
        for name in _TUPLES:
            fields[name] = tuple(fields[name]) if fields.get(name) else None
        fields["priority"] = Priority(fields["priority"])
        fields["status"] = JobStatus(fields["status"])
        fields["outcome"] = Outcome(fields["outcome"]) if fields.get("outcome") else None
        summary = fields.get("summary")
        fields["summary"] = Summary.from_json(summary) if summary else None
        if fields["created_at"] is None:
            raise ValueError("A job without created_at.")
        check_types(cls, fields)
        job = cls(**fields)
        if job.status.is_final and not says_how_it_ended(document):
            raise ValueError("A job that has ended without saying how.")
        return job


def job_record(job: Job, tests: Iterable[str], **more: Any) -> dict[str, Any]:
    """Return the public record of a job, but for its results.

    It is `schema_version`, the job's fields, further keys, and the node ids of its tests.
    """
    record = {"schema_version": SCHEMA_VERSION, **job.to_json(), **more}
    record["tests_to_run"] = list(tests)
    return record
