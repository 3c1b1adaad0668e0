"""Decide which jobs get a second round."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_valor_schedule.daemon.outcomes import can_bring_more
from pytest_valor_schedule.daemon.supervisor import ProcessExit
from pytest_valor_schedule.model.job_terms import Outcome
from pytest_valor_schedule.model.result import TestOutcome, TestResult
from pytest_valor_schedule.record.output import error_line
from pytest_valor_schedule.record.run_summary import RunSummary

NOT_RUN = TestResult(nodeid="b", outcome=TestOutcome.NOT_RUN)
RAN = TestResult(nodeid="a", outcome=TestOutcome.PASSED)
CUT_OFF = TestResult(nodeid="a", outcome=TestOutcome.NOT_RUN, started_at=1.0)


@pytest.mark.parametrize(
    ("more", "code", "how", "expected"),
    [
        ({}, 4, {}, False),  # a usage error
        ({}, 2, {}, False),  # pytest.exit in a conftest.py
        ({"internal_error": "RuntimeError"}, 3, {}, False),  # of a hook, before any test
        ({"deaths": ("ImportError",)}, 5, {}, False),  # every worker said no
        ({}, -9, {}, True),
        ({}, None, {"stalled": True}, True),
        ({"from_outside": True, "internal_error": "EOFError"}, 3, {}, True),
        ({"from_outside": True, "deaths": ("killed",)}, 1, {}, True),
        ({}, 3, {"disk_full": True}, True),
        ({"results": (RAN, NOT_RUN)}, 3, {}, True),  # one test's fault; the others can run
        ({"results": (CUT_OFF, NOT_RUN)}, 1, {}, True),
        ({"results": (RAN, NOT_RUN), "interruption": "-x"}, 2, {}, False),
        ({"results": (RAN, NOT_RUN), "missing": ()}, 1, {}, False),  # nobody collected it
        ({"results": (RAN, NOT_RUN)}, None, {"stop": Outcome.TIMED_OUT}, False),
        ({"results": (RAN, NOT_RUN)}, None, {"stop": Outcome.CANCELLED}, False),
    ],
)
def test_a_round_follows_where_it_can_bring_something(
    more: dict[str, Any], code: int | None, how: dict[str, Any], expected: bool
) -> None:
    """What was ended from outside, or had begun, is run once more; what pytest refused is not."""
    account = RunSummary(**{"results": (NOT_RUN,), "missing": ("b",), **more})
    assert can_bring_more(account, ProcessExit(code=code, **how)) is expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("noise\nERROR: Pick one.\n\n", "ERROR: Pick one"),
        (
            "ERROR: usage: pytest [options]\npytest: error: unrecognized arguments: --x\n  ini: y",
            "x",
        ),
        ("ImportError while loading conftest\nE   ValueError: deep\nE   more", "ValueError: deep"),
        ("E   AssertionError: Traceback (most recent call last):\nE     OSError: x", "OSError: x"),
        ("INTERNALERROR> Traceback\nINTERNALERROR> RuntimeError: here", "RuntimeError: here"),
        ("\x1b[31mE   ValueError: red\x1b[0m\nlast", "ValueError: red"),
        ("Exit: enough\n=======", "Exit: enough"),
        ("", "it printed nothing"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_the_line_that_says_most_is_quoted(text: str, line: str) -> None:
    """A reason is one line of bounded length."""
    assert error_line(text).endswith(line)
    assert "\n" not in error_line(text)
    assert len(error_line(text)) <= 300
