"""Decide whether another round of a job can bring a result to the tests that have none. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_valor_schedule.model.result import TestOutcome, TestResult
from pytest_valor_schedule.record.aggregate import RunSummary

if TYPE_CHECKING:
    from pytest_valor_schedule.daemon.supervisor import ProcessExit


def can_bring_more(account: RunSummary, first: ProcessExit) -> bool:
    """Return whether what is missing after the first round can come in another.

    Where no test began, and nothing from outside ended the run, pytest said no to the run as such
    (its options, a conftest.py, a plugin), and would say so again.
    """
    if not account.missing or account.interruption is not None or first.stop is not None:
        return False
    from_outside = account.from_outside or first.killed or first.stalled or first.disk_full
    return from_outside or any(map(_has_begun, account.results))


def _has_begun(result: TestResult) -> bool:
    return result.started_at is not None or result.outcome is not TestOutcome.NOT_RUN
