"""Answers as people read them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_valor_schedule.client import submit
from pytest_valor_schedule.client.responses import ScheduleResponse
from pytest_valor_schedule.model.job_terms import Outcome
from pytest_valor_schedule.queue.estimate import Estimate, Spread
from pytest_valor_schedule.queue.forecast import QueuePosition
from pytest_valor_schedule.text import render, result_list
from tests.support.jobs import a_job
from tests.support.properties import steady

JOB_ID = "20261122-203015-4f9a2c"
SUMMARY = {
    **dict.fromkeys(("errors", "xfailed", "xpassed", "crashed", "not_run"), 0),
    "total": 412,
    "failed": 2,
    "passed": 409,
    "skipped": 1,
    "duration_seconds": 57.3,
}
ENDED: dict[str, Any] = {
    "job_id": JOB_ID,
    "status": "completed",
    "outcome": "failed",
    "started_at": "2026-11-22T20:30:15+00:00",
    "test_count": 412,
    "summary": SUMMARY,
    "results": [],
}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"outcome": "passed", "exit_code": 0}, 0),
        ({"outcome": "failed", "exit_code": 1}, 1),
        ({"outcome": "failed", "exit_code": 2}, 1),
        ({"outcome": "failed", "exit_code": 0}, 1),
        ({"outcome": "failed", "exit_code": 77}, 77),
        ({"outcome": "failed", "exit_code": -11}, 1),
        ({"outcome": "failed"}, 1),
        ({"outcome": "error", "exit_code": 4}, 4),
        ({"outcome": "error", "exit_code": 2}, 2),
        ({"outcome": "error", "exit_code": 5}, 1),
        ({"outcome": "error"}, 1),
        ({"outcome": "incomplete", "exit_code": 2}, 2),
        ({"outcome": "incomplete", "exit_code": 0}, 1),
        ({"outcome": "incomplete", "exit_code": -9}, 1),
        ({"outcome": "no_tests", "exit_code": 5}, 5),
        ({"outcome": "no_tests", "exit_code": 0}, 5),
        ({"outcome": "timed_out", "exit_code": 2}, 124),
        ({"outcome": "cancelled", "exit_code": -9}, 130),
        ({"error": "There is no job.", "exit_code": 0}, 1),
        ({"status": "running"}, 1),
    ],
)
def test_an_exit_code_tells_the_outcome(answer: dict[str, Any], code: int) -> None:
    """Whoever waits gets pytest's exit code, or a code that is no success."""
    assert render.exit_code(answer) == code


@steady
@given(st.sampled_from(Outcome), st.none() | st.integers(-64, 255))
@example(Outcome.ERROR, 5)
def test_only_a_pass_is_a_success(outcome: Outcome, code: int | None) -> None:
    """No exit code of pytest makes another outcome look like a pass, or like a run of no tests."""
    told = render.exit_code({"outcome": str(outcome), "exit_code": code})
    assert (told == 0) == (outcome is Outcome.PASSED)
    assert (told == 5) == (outcome is Outcome.NO_TESTS)
    assert 0 <= told < 256


@steady
@given(st.text())
def test_plain_text_cannot_steer_a_terminal(text: str) -> None:
    """Only printable characters, line breaks and tabs are left, and these stay as they were."""
    plain = render.plain(text)
    assert all(char.isprintable() or char in "\n\t" for char in plain)
    assert text != plain or all(char.isprintable() or char in "\n\t" for char in text)
    assert render.plain(plain) == plain


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        *(("a\x1b[2Jb", r"a\x1b[2Jb"), ("a\rb", r"a\rb"), ("\0\x7f\x9b", r"\x00\x7f\x9b")),
        *(("\u202e", r"\u202e"), ("\ud800", r"\ud800"), ("grün\n\t'\\", "grün\n\t'\\")),
    ],
)
def test_control_characters_are_escaped(text: str, plain: str) -> None:
    """What would steer a terminal is shown as Python would write it."""
    assert render.plain(text) == plain


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (10, "10th"), (21, "21st")),
        *((11, "11th"), (12, "12th"), (13, "13th"), (22, "22nd"), (101, "101st"), (113, "113th")),
    ],
)
def test_an_ordinal_is_spoken_english(number: int, text: str) -> None:
    """The teens are all "th"."""
    assert render.ordinal(number) == text


def test_what_is_counted_has_its_plural() -> None:
    """One test is a test and all other numbers are tests."""
    assert [render.quantity(n, "test") for n in range(3)] == ["0 tests", "1 test", "2 tests"]


def test_counts_are_shown_where_there_are_any() -> None:
    """The bad ones come first, and zeros are left out."""
    assert render.counts_text(SUMMARY) == "2 failed, 409 passed, 1 skipped"
    assert render.counts_text({**SUMMARY, "not_run": 3}).startswith("2 failed, 3 not run, ")
    assert render.counts_text({}) == "no tests"


def _receipt(**changes: Any) -> ScheduleResponse:
    fields: dict[str, Any] = {
        "job": a_job(),
        "nodeids": (),
        "estimate": Estimate(70.0, 42),
        "place": QueuePosition(2, "waits for 1 job ahead of it", a_job().created_at + 25),
        "workers": 4,
    }
    return submit.receipt(**{**fields, **changes})


def _lines(receipt: ScheduleResponse, *, quiet: bool = False) -> list[str]:
    return render.receipt_lines(receipt, quiet=quiet)


FIRST_LINE = f"scheduled {JOB_ID}: 412 tests on 4 workers, about 1m 10s (from 42 runs)"


def test_a_receipt_says_where_the_job_is_and_what_can_be_done() -> None:
    """A submitter reads the id, the place in the queue, and the commands for this job."""
    command = render.command_name()
    assert _lines(_receipt()) == [
        FIRST_LINE,
        "2nd in the queue, expected to start in 25s: waits for 1 job ahead of it",
        f"results: {command} results 4f9a2c",
        f"wait:    {command} wait 4f9a2c",
        f"cancel:  {command} cancel 4f9a2c",
    ]


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(70.0, 0), "duration not known yet (no history yet)"),
        (
            Estimate(7, 0, spread=Spread(5, 7, 70), source="by eye"),
            "5s to 2m (no history yet, by eye)",
        ),
        (Estimate(70.0, 1), "about 1m 10s (from 1 run)"),
    ],
)
def test_a_receipt_claims_to_know_no_more_than_is_known(estimate: Estimate, text: str) -> None:
    """Both of `pytest --schedule` and of `valor-schedule run`; programs get the same words."""
    receipt = _receipt(estimate=estimate)
    assert _lines(receipt)[0].endswith(f"on 4 workers, {text}")
    assert receipt["estimated_duration"] == estimate.duration


def test_a_receipt_of_a_job_that_need_not_wait() -> None:
    """A job at the head of a free queue starts now."""
    lines = _lines(_receipt(place=QueuePosition(1, None, None)))
    assert lines[1] == "1st in the queue, starts now"


def test_a_receipt_warns() -> None:
    """What will not be as asked for comes right after the first line."""
    lines = _lines({**_receipt(), "warnings": ["No messages.", "Be careful."]})
    assert lines[1:3] == ["warning: No messages.", "warning: Be careful."]


def test_a_quiet_receipt_is_one_line() -> None:
    """Under -q the id and the size of the job are all that is said."""
    assert _lines(_receipt(), quiet=True) == [FIRST_LINE]
    warned = _lines({**_receipt(), "warnings": ["No messages."]}, quiet=True)
    assert warned == [FIRST_LINE, "warning: No messages."]


def test_the_command_is_one_that_this_terminal_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `valor-schedule` is not on the PATH, its own path or the interpreter starts it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    beside = Path(sys.executable).with_name("valor-schedule")
    assert (Path.cwd() / render.command_name()).resolve() == beside.resolve()
    monkeypatch.setattr(sys, "executable", "/opt/python")
    assert render.command_name() == "/opt/python -m pytest_valor_schedule"
    script = tmp_path / "valor-schedule"
    script.touch(mode=0o700)
    assert render.command_name() == "valor-schedule"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (ENDED, f"{JOB_ID} failed: 2 failed, 409 passed, 1 skipped in 57.30s"),
        (
            {"status": "running", "progress": {"finished": 7, "failed": 1, "total": 412}},
            f"{JOB_ID} running: 412 tests, 7 finished, 1 failed so far",
        ),
        (
            {"status": "scheduled", "queue_position": 3, "reason": "waits for its start"},
            f"{JOB_ID} scheduled: 412 tests, 3rd in the queue, waits for its start",
        ),
    ],
)
def test_a_job_is_one_line(answer: dict[str, Any], line: str) -> None:
    """The line tells how far the job is, or how it ended."""
    assert render.job_line({"job_id": JOB_ID, "test_count": 412, **answer}) == line


def test_results_name_each_bad_test_with_its_place_and_message() -> None:
    """One line for each test that failed, and none for those that did not."""
    answer = {
        **ENDED,
        "explanation": "pytest stopped early.",
        "collection_errors": [{"nodeid": "test_c.py", "longrepr": "E"}],
        "results": [
            {"nodeid": "a", "outcome": "failed", "location": "a.py:4", "message": "assert 0\n  +1"},
            {"nodeid": "b", "outcome": "crashed", "message": ""},
            {"nodeid": "c", "outcome": "error"},
            *({"nodeid": "d", "outcome": good} for good in ("passed", "skipped", "not_run")),
        ],
    }
    assert result_list.lines(answer, {}, {})[:-1] == [
        f"{JOB_ID} failed: 2 failed, 409 passed, 1 skipped in 57.30s",
        "pytest stopped early.",
        "COLLECTION ERROR test_c.py",
        "FAILED a  a.py:4  assert 0",
        "CRASHED b",
        "ERROR c",
    ]


def test_results_name_what_ended_only_when_it_was_run_again() -> None:
    """A test that passed after a crash is no plain pass, nor is one without its teardown."""
    crash = {"outcome": "crashed", "message": "killed its worker gw0 (SIGSEGV)", "longrepr": "File"}
    more = {"outcome": "crashed", "message": "killed its worker gw1", "sections": [["out", "x"]]}
    results = [
        {"nodeid": "a", "outcome": "passed"},
        {"nodeid": "b", "outcome": "passed", "crashes": [crash, more], "reruns": 2},
        {"nodeid": "c", "outcome": "passed", "message": "its teardown", "unfinished": True},
        {"nodeid": "d", "outcome": "passed", "reruns": 1},
    ]
    answer = {**ENDED, "results": results}
    assert result_list.lines(answer, {}, {})[1:-1] == [
        "PASSED b  before: killed its worker gw1  [2 reruns]",
        "PASSED c  its teardown",
    ]
    full = result_list.lines(answer, {}, {"failed": True})
    first, second = (f"----- before: killed its worker gw{number}" for number in range(2))
    assert full[1:3] == [f"{first} (SIGSEGV) -----", "File"]
    assert full[3:7] == [f"{second} -----", "killed its worker gw1", "----- out -----", "x"]


@steady
@given(st.text(), st.text(), st.text())
def test_a_bad_test_is_one_line_of_plain_text(nodeid: str, place: str, message: str) -> None:
    """Whatever a test says of itself, it cannot fake another line."""
    result = {"nodeid": nodeid, "outcome": "failed", "location": place, "message": message}
    lines = result_list.lines({**ENDED, "results": [result]}, {}, {})
    assert len(lines) == 3
    assert not set("\n\r\x1b").intersection(*lines[1:])


def _row(specification: str = "pytest tests", **fields: Any) -> dict[str, Any]:
    row = {"job_id": JOB_ID, "status": "scheduled", "priority": "normal", "test_count": 12}
    return {**row, "specification": specification, **fields}


def test_jobs_are_listed_as_a_table() -> None:
    """Columns are aligned, and an ended job shows its counts."""
    rows = [_row(), _row("pytest -x", status="completed", outcome="failed", summary=SUMMARY)]
    header, *lines = render.list_lines(rows, total=2)
    assert header.split() == ["JOB", "STATUS", "OUTCOME", "PRIORITY", "TESTS", "WHAT"]
    assert lines[0].split() == [JOB_ID, "scheduled", "-", "normal", "12", "pytest", "tests"]
    assert "  2 failed, 409 passed, 1 skipped  pytest -x" in lines[1]
    assert {line.index("pytest") for line in lines} == {header.index("WHAT")}


def test_jobs_that_are_not_shown_are_counted() -> None:
    """A list says how many older jobs there are."""
    assert render.list_lines([_row()], total=1)[-1].endswith("pytest tests")
    assert render.list_lines([_row()], total=2)[-1] == "and 1 older job"
    assert render.list_lines([], total=3) == ["none shown of 3 jobs"]
    assert render.list_lines([], total=0) == ["no jobs"]


@pytest.mark.parametrize("specification", ["pytest -k 'a\nb'", "pytest -k 'a\tb'", "a\x1b[2J"])
def test_a_job_is_one_row_of_the_table(specification: str) -> None:
    """A specification is shown as one cell, whatever characters it has."""
    lines = render.list_lines([_row(specification)], total=1)
    assert len(lines) == 2
    assert lines[1].isprintable()


def test_a_long_specification_is_cut() -> None:
    """A row fits a terminal."""
    assert render.list_lines([_row("x" * 500)], total=1)[1].count("x") == 60
