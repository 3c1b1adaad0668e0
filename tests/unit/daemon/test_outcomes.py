"""How a job ended that nobody stopped."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_valor_schedule.daemon.outcomes import (
    decide_outcome,
    left_over,
    runner_end,
    why_rerun,
    without_room,
)
from pytest_valor_schedule.daemon.supervisor import ProcessExit
from pytest_valor_schedule.model.job_terms import Outcome
from pytest_valor_schedule.model.result import TestOutcome, TestResult
from pytest_valor_schedule.record.run_summary import RunSummary
from tests.support.jobs import a_job


def _account(outcomes: str, **more: Any) -> RunSummary:
    results = [
        TestResult(nodeid=str(number), outcome=TestOutcome(outcome))
        for number, outcome in enumerate(outcomes.split())
    ]
    return RunSummary(results=tuple(results), **more)


@pytest.mark.parametrize(
    ("outcomes", "exit_code", "outcome"),
    [
        ("", 5, Outcome.NO_TESTS),
        ("", 0, Outcome.NO_TESTS),
        ("passed", 0, Outcome.PASSED),
        ("passed skipped xfailed xpassed", 0, Outcome.PASSED),
        ("skipped", 5, Outcome.PASSED),
        ("passed failed", 1, Outcome.FAILED),
        ("passed error", 1, Outcome.FAILED),
        ("passed crashed", 1, Outcome.FAILED),
        ("failed", 0, Outcome.FAILED),
        ("failed", None, Outcome.FAILED),
    ],
)
def test_a_plain_end_needs_no_explanation(
    outcomes: str, exit_code: int | None, outcome: Outcome
) -> None:
    """Where every test has a result and pytest agrees, the outcome says it all."""
    assert decide_outcome(_account(outcomes), exit_code) == (outcome, None)


@pytest.mark.parametrize(
    ("outcomes", "exit_code", "outcome", "explanation"),
    [
        ("not_run", 5, "error", "No test ran: pytest ended with exit code 5."),
        ("not_run not_run", -9, "error", "No test ran: pytest was ended by signal 9."),
        ("not_run not_run", None, "error", "No test ran: the run was cut off."),
        ("passed not_run", 0, "incomplete", "1 of 2 tests have no result: pytest ended with exit"),
        ("passed not_run not_run", 3, "incomplete", "2 of 3 tests have no result: pytest ended"),
        ("failed not_run", 1, "incomplete", "1 of 2 tests have no result: "),
        ("passed not_run", None, "incomplete", "1 of 2 tests have no result: the run was cut off."),
        ("passed", 1, "failed", "No test failed, but pytest ended with exit code 1; the log "),
        ("passed", -11, "failed", "No test failed, but pytest was ended by signal 11; the log "),
        ("passed", None, "failed", "No test failed, but the run was cut off."),
        ("", 3, "failed", "No test failed, but pytest ended with exit code 3; "),
    ],
)
def test_an_end_that_is_not_plain_is_explained(
    outcomes: str, exit_code: int | None, outcome: str, explanation: str
) -> None:
    """Tests without a result, and an exit code that does not fit, are told in one sentence."""
    concluded, told = decide_outcome(_account(outcomes), exit_code)
    assert concluded == outcome
    assert str(told).startswith(explanation)
    assert str(told).endswith(".")


@pytest.mark.parametrize(
    ("more", "how"),
    [
        ({"internal_error": " \n"}, "pytest ended with exit code 3"),
        ({"interruption": "Ctrl-C"}, "pytest stopped (Ctrl-C)"),
        (
            {"internal_error": "Traceback\n  File\nValueError: x\n"},
            "pytest had an internal error (ValueError: x)",
        ),
        (
            {"collection_errors": ({"nodeid": "a.py", "longrepr": "E   OSError: x\nE   y"},)},
            "a.py could not be collected (OSError: x)",
        ),
        (
            {"collection_errors": ({"nodeid": "w"}, {"nodeid": "a.py"}, {"nodeid": "b.py"})},
            "w and 2 more could not be collected",
        ),
        (
            {
                "collection_errors": ({"nodeid": "another in gw1"}, {"nodeid": "a.py"}),
                "refusals": ("another in gw1",),
            },
            "a.py could not be collected",
        ),
        (
            {
                "collection_errors": ({"nodeid": "another in gw1", "longrepr": "Other tests."},),
                "refusals": ("another in gw1",),
            },
            "another in gw1 (Other tests)",
        ),
        ({"changes": "1 test is new"}, "1 test is new"),
        (
            {"changes": "1 test is gone", "collection_errors": ({"nodeid": "a.py"},)},
            "a.py could not be collected",
        ),
        ({"deaths": ("first", "a worker ended (last)")}, "a worker ended (last)"),
        ({"disk_full": True, "missing": ("0",), "deaths": ("last",)}, "the disk was full"),
        ({"disk_full": True}, "pytest ended with exit code 3"),
    ],
)
def test_the_cause_is_told_rather_than_the_exit_code(more: dict[str, Any], how: str) -> None:
    """An explanation says what is known to have gone wrong."""
    assert decide_outcome(_account("not_run", **more), 3) == (Outcome.ERROR, f"No test ran: {how}.")


def test_for_what_was_told_nobody_is_sent_to_the_log() -> None:
    """The log is named where nothing but an exit code is known."""
    errors = tuple({"nodeid": name, "longrepr": "E   OSError: x"} for name in ("a.py", "b.py"))
    told = decide_outcome(_account("passed passed", collection_errors=errors), 1)[1]
    assert told == "No test failed, but a.py and 1 more could not be collected (OSError: x)."
    assert "the log tells why" in str(
        decide_outcome(_account("passed", failed_otherwise=True), 1)[1]
    )


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (-9, "its runner was killed (SIGKILL)"),
        (-15, "its runner was killed (SIGTERM)"),
        (1, "its runner failed (exit code 1), and dispatcher.log tells why"),
        (None, "its runner died, and nobody saw how"),
    ],
)
def test_the_end_of_a_runner_comes_before_what_it_brought_about(code: int | None, how: str) -> None:
    """Who dies first is the cause; nothing is said of an exit code that nobody has seen."""
    account = _account("passed not_run", deaths=("gone",))
    _, told = decide_outcome(account, None, cause=runner_end(code))
    assert told == f"1 of 2 tests have no result: {how}."
    assert decide_outcome(_account("passed"), None, cause=runner_end(code)) == (
        Outcome.FAILED,
        f"No test failed, but {how}.",
    )


@pytest.mark.parametrize(
    ("running", "waiting", "told"),
    [
        (0, 0, None),
        (0, 2, "They had not begun."),
        (0, 1, "It had not begun."),
        (1, 0, "It was running then."),
        (1, 1, "1 of them was running then, and 1 had not begun."),
        (2, 3, "2 of them were running then, and 3 had not begun."),
    ],
)
def test_what_became_of_tests_without_a_result_is_counted(
    running: int, waiting: int, told: str | None
) -> None:
    """Whoever reads of a run that was cut off need not go through its tests."""
    account = _account(" ".join(["passed", *["not_run"] * (running + waiting)]))
    cut = [dataclasses.replace(each, unfinished=True) for each in account.results[1 : 1 + running]]
    results = (account.results[0], *cut, *account.results[1 + running :])
    assert left_over(dataclasses.replace(account, results=results)) == told


def test_what_pytest_said_is_quoted_where_nothing_else_is_known() -> None:
    """A run that came to no session has only its output to tell why."""
    _, told = decide_outcome(_account("not_run"), 4, "ERROR: Pick one")
    assert told == "No test ran: pytest ended with exit code 4 (ERROR: Pick one)."
    _, told = decide_outcome(_account("not_run", changes="1 test is new"), 4, "ERROR: Pick one")
    assert told == "No test ran: 1 test is new."


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ({"code": -9}, "pytest was ended by signal 9"),
        ({"code": -9, "disk_full": True}, "pytest was ended by signal 9"),
        ({"code": 3, "disk_full": True}, "the disk was full"),
        ({"code": None, "stalled": True, "disk_full": True}, "nothing happened for 5 minutes"),
    ],
)
def test_why_there_was_a_second_round_is_told(how: dict[str, Any], cause: str) -> None:
    """The sentence counts the tests and says how the first round ended."""
    account, job = _account("not_run not_run", missing=("0", "1")), a_job(stall_seconds=300.0)
    told = f"2 tests were run once more, because at first {cause}."
    assert why_rerun(account, ProcessExit(**how), job) == told


def test_a_full_disk_is_told_where_it_cost_a_result() -> None:
    """What a full disk was no loss to needs no word of it."""
    assert without_room(_account("not_run", missing=("0",), disk_full=True)) == "The disk was full."
    assert without_room(_account("passed", disk_full=True)) is None


def test_an_internal_error_that_cost_no_test_is_told() -> None:
    """After its last test a worker's internal error leaves pytest's exit code 0, but a sentence."""
    account = _account("passed", internal_error="Traceback\nValueError: x")
    told = "Every test ran, but pytest had an internal error (ValueError: x)."
    assert decide_outcome(account, 0) == (Outcome.PASSED, told)


def test_a_run_that_stops_at_a_failure_has_failed() -> None:
    """With -x the tests behind the failure were not to run, so nothing is missing."""
    account = _account("failed not_run not_run", interruption="stopping after 1 failures")
    outcome, explanation = decide_outcome(account, 2)
    assert outcome is Outcome.FAILED
    assert explanation == "2 tests did not run: pytest stopped (stopping after 1 failures)."
    account = _account("failed not_run", interruption="stopping after 1 failures")
    assert str(decide_outcome(account, 2)[1]).startswith("1 test did not run: ")


def test_a_run_that_stops_without_a_failure_is_incomplete() -> None:
    """Whoever interrupts a good run has not finished it."""
    account = _account("passed not_run", interruption="Ctrl-C")
    assert decide_outcome(account, 2)[0] is Outcome.INCOMPLETE
