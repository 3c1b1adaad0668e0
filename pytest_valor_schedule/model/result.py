"""Define what became of a job's tests, and count it, as JSON. Pure."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from pytest_valor_schedule._util import clock
from pytest_valor_schedule._util.document import check_types, own_fields, without_empty


class TestOutcome(StrEnum):
    """What became of one test."""

    __test__ = False

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"  # setup or teardown failed
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    XPASSED = "xpassed"
    CRASHED = "crashed"  # its worker died in it
    NOT_RUN = "not_run"

    @property
    def bad(self) -> bool:
        """Whether it makes the job fail."""
        return self in (TestOutcome.FAILED, TestOutcome.ERROR, TestOutcome.CRASHED)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """What became of one test; most of the optional fields are there for what did not pass.

    Attributes:
        reruns: How often it was tried again.
        crashes: What is known of earlier attempts at it that did not come to their end.
        flaky: Whether it is bad, and passed when it was run again.
        unfinished: Whether it began, and its worker or the run ended before its teardown did.
    """

    __test__ = False

    nodeid: str
    outcome: TestOutcome
    duration_seconds: float = 0.0
    started_at: float | None = None
    worker: str | None = None
    phase: str | None = None
    message: str | None = None
    longrepr: str | None = None
    sections: tuple[tuple[str, str], ...] = ()
    location: str | None = None
    reruns: int | None = None
    crashes: tuple[dict[str, Any], ...] = ()
    subtests: tuple[dict[str, Any], ...] = ()
    flaky: bool | None = None
    extra: dict[str, Any] | None = None
    unfinished: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields that have a value, times as ISO 8601 text."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["duration_seconds"] = round(self.duration_seconds, 6)
        fields["started_at"] = clock.to_text(self.started_at)
        fields["outcome"] = str(self.outcome)
        return without_empty(fields.items())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts of the outcomes of a job's tests; the total is the sum of the other counts.

    But for `flaky`: how many of the bad ones passed when they were run again; and
    `skipped_modules`: how many were skipped as a whole, whose tests nobody knows. Both are there
    only where there are any.
    """

    total: int
    passed: int
    failed: int
    errors: int
    skipped: int
    xfailed: int
    xpassed: int
    crashed: int
    not_run: int
    duration_seconds: float
    flaky: int = 0
    skipped_modules: int = 0

    @classmethod
    def of(
        cls, results: Iterable[TestResult], duration_seconds: float, skipped_modules: int = 0
    ) -> Summary:
        """Count the outcomes of results; the duration is that of the whole job in seconds."""
        results = tuple(results)
        counts = Counter(result.outcome for result in results)
        by_name = {"errors" if name == "error" else str(name): counts[name] for name in TestOutcome}
        seconds, flaky = round(duration_seconds, 3), sum(bool(result.flaky) for result in results)
        more = {"flaky": flaky, "skipped_modules": skipped_modules}
        return cls(total=len(results), duration_seconds=seconds, **more, **by_name)

    def to_json(self) -> dict[str, Any]:
        """Return the counts by name."""
        others = ("flaky", "skipped_modules")
        return {n: v for n, v in dataclasses.asdict(self).items() if v or n not in others}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Summary:
        """Return what `to_json` gave, or raise TypeError."""
        fields = own_fields(cls, document)
        check_types(cls, fields)
        return cls(**fields)
