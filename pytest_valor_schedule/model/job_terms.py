"""Name where a job stands, how it ended, and how urgent it is; read its JSON as it is. Pure.

Apart from the job, because who only shows one that has ended needs no more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum

TYPE_CHECKING: bool = False  # without typing: see cli/__init__
if TYPE_CHECKING:
    from typing import Any

BAD = ("failed", "error", "crashed")
"""The outcomes of a test that make a run fail."""


class JobStatus(StrEnum):
    """Where a job stands. There will be no others: pollers wait for the last two."""

    SCHEDULED = "scheduled"  # in the queue
    RUNNING = "running"  # a runner owns it
    COMPLETED = "completed"  # ended; the outcome says how, time-outs and crashes included
    CANCELLED = "cancelled"  # taken out of the queue, or ended on request

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self in (JobStatus.COMPLETED, JobStatus.CANCELLED)


class Outcome(StrEnum):
    """How a job ended."""

    PASSED = "passed"  # every test has a result and none is bad
    FAILED = "failed"  # a test failed, or pytest said so with its exit code
    NO_TESTS = "no_tests"  # nothing was left to run
    TIMED_OUT = "timed_out"  # the job's time limit ended it
    INCOMPLETE = "incomplete"  # some tests have no result
    ERROR = "error"  # pytest could not run
    CANCELLED = "cancelled"  # ended on request


class RanIn(StrEnum):
    """Which processes ran the tests of a job at first."""

    SESSION = "session"  # the pytest that had collected them, without xdist
    FORKED_WORKERS = "forked_workers"  # xdist's, forked from the pytest that had collected them
    WORKERS = "workers"  # xdist's, each of which collected them anew


class Priority(StrEnum):
    """How urgent a job is."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """Sort key: the smallest starts first."""
        return (Priority.HIGH, Priority.NORMAL, Priority.LOW).index(self)


def short_id(job_id: str) -> str:
    """Return the last part of a job id, which is enough to name the job."""
    return job_id.rpartition("-")[2]


def document_in(text: str) -> dict[str, Any]:
    """Return the JSON object that a text is; an empty one if it is none."""
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return {}


def says_how_it_ended(document: Mapping[str, Any]) -> bool:
    """Return whether the JSON of a job is that of one that has ended, with what that takes."""
    has_ended = document.get("status") in (JobStatus.COMPLETED, JobStatus.CANCELLED)
    return has_ended and all(map(document.get, ("outcome", "summary", "completed_at")))


def public_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what others are told of the JSON of a job; its command says the rest."""
    return {n: value for n, value in document.items() if n not in ("launcher", "arguments")}


def ended_job(text: str) -> dict[str, Any] | None:
    """Return the public fields of the job that a row describes; None for one that has not ended."""
    document = document_in(text)
    return public_fields(document) if says_how_it_ended(document) else None
