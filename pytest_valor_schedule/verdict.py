"""How a job ended that nobody stopped. Pure."""

from __future__ import annotations

from pytest_valor_schedule.accounting import Account
from pytest_valor_schedule.job import Outcome
from pytest_valor_schedule.result import TestOutcome

_MOST_NAMED = 3
OTHER_COLLECTION = "another collection in worker "
"""How the report begins of a worker that collected something else than the others."""


def conclude(
    account: Account, exit_code: int | None, *, flaky_passes: bool = False
) -> tuple[Outcome, str | None]:
    """Return how a job ended that nobody stopped, and one sentence where that is not plain.

    Args:
        account: What the journals say.
        exit_code: That of the job's pytest, negative for a signal; None if it is not known.
        flaky_passes: Whether a test that failed and then passed makes no job fail.
    """
    outcomes = [result.outcome for result in account.results]
    missing = outcomes.count(TestOutcome.NOT_RUN)
    flaky = flaky_passes and any(result.flaky for result in account.results)
    bad = any(
        result.outcome.bad for result in account.results if not (flaky_passes and result.flaky)
    )
    how = how_it_ended(account, exit_code)
    if missing and missing == len(outcomes):
        return Outcome.ERROR, f"No test ran: {how}."
    if missing and not (bad and account.interruption):
        return Outcome.INCOMPLETE, f"{missing} of {len(outcomes)} tests have no result: {how}."
    if bad:
        noun = "test" if missing == 1 else "tests"
        return Outcome.FAILED, f"{missing} {noun} did not run: {how}." if missing else None
    if account.failed_otherwise or exit_code not in ((0, 1, 5) if flaky else (0, 5)):
        return Outcome.FAILED, f"No test failed, but {how}; the log tells why."
    if flaky:
        return Outcome.PASSED, "What failed passed when it was run again, and flaky tests may pass."
    if not outcomes:
        return Outcome.NO_TESTS, None
    return Outcome.PASSED, _blemish(account, how)


def _blemish(account: Account, how: str) -> str | None:
    """Return a sentence about what was not right in a run that passed, if anything was not."""
    # That of a worker whose tests are all done does not always reach pytest's exit code.
    if account.internal_error:
        return f"Every test ran, but {how}."
    count = sum(bool(result.unfinished) for result in account.results)
    whose = "that of 1 test" if count == 1 else f"those of {count} tests"
    return f"Every teardown ended but {whose}, in which the run did." if count else None


def how_it_ended(account: Account, exit_code: int | None) -> str:
    """Return what is known of why pytest ended, as part of a sentence."""
    if account.interruption:
        return f"pytest stopped ({account.interruption})"
    if error := (account.internal_error or "").strip():
        return f"pytest had an internal error ({error.splitlines()[-1]})"
    if account.collection_errors:
        return _not_collected(str(account.collection_errors[0]["nodeid"]))
    if account.changes:
        return account.changes
    if account.deaths:
        return f"a worker ended ({account.deaths[-1]})"
    if exit_code is None:
        return "the run was cut off"
    if exit_code < 0:
        return f"pytest was ended by signal {-exit_code}"
    return f"pytest ended with exit code {exit_code}"


def cut_off(account: Account) -> str | None:
    """Return a sentence about the tests that were running when the run was ended, if any were."""
    found = [each.nodeid for each in account.results if each.unfinished and not each.outcome.bad]
    if not found:
        return None
    named = found if len(found) <= _MOST_NAMED else [*found[: _MOST_NAMED - 1], "others"]
    return f"{', '.join(named)} {'was' if len(found) == 1 else 'were'} running then."


def _not_collected(what: str) -> str:
    return what if what.startswith(OTHER_COLLECTION) else f"{what} could not be collected"
