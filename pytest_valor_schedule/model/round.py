"""Name one pytest run of a job, as the names of its files begin. Pure."""

from __future__ import annotations

import dataclasses
import functools
from enum import StrEnum


class RoundKind(StrEnum):
    """What a round runs; the values stand in the names of files, and so stay."""

    NOTES = "0"  # nothing: what the runner itself writes down
    FIRST = "1"  # all tests of the job
    RERUN_MISSING = "2"  # the tests that have no result after the first round
    ISOLATE = "alone"  # one test that was running when the first round was killed
    RERUN_FAILURES = "confirm"  # what failed, to see whether it fails again


@dataclasses.dataclass(frozen=True, slots=True)
class Round:
    """One pytest run of a job.

    Attributes:
        attempt: Of the dispatcher at the job, from 1.
        kind: What it runs.
        number: Which of several of a kind, from 1; 0 where there is one.
    """

    attempt: int
    kind: RoundKind
    number: int = 0

    @property
    def prefix(self) -> str:
        """How the names of its files begin, such as "1.2" or "1.confirm1"."""
        return f"{self.attempt}.{self.kind}{self.number or ''}"

    @property
    def reruns_failures(self) -> bool:
        """Whether it changes no result, and only tells which failures come again."""
        return self.kind is RoundKind.RERUN_FAILURES

    @classmethod
    @functools.cache
    def of(cls, prefix: str) -> Round:
        """Return the round whose files begin so; one of another version ran what was missing."""
        attempt, _, name = prefix.partition(".")
        kind = name.rstrip("0123456789") or name
        is_known = kind in list(RoundKind)
        return cls(
            int(attempt) if attempt.isdecimal() else 0,
            RoundKind(kind) if is_known else RoundKind.RERUN_MISSING,
            int(name[len(kind) :] or 0),
        )
