"""What a submitter may ask for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_valor_schedule.errors import InvalidRequestError
from pytest_valor_schedule.model import run_options
from pytest_valor_schedule.model.job_terms import JobStatus, Priority
from pytest_valor_schedule.model.run_options import RunOptions
from tests.support.properties import steady

HUGE = 10**5000  # Python refuses to print it

Check = Callable[..., Any]

BAD: dict[Check, list[Any]] = {
    run_options.check_priority: ["urgent", "HIGH", "", None, 1, True, [], {}],
    run_options.check_max_workers: [0, -1, 1.5, True, "2", None, math.nan, [], -HUGE],
    run_options.check_timeout_minutes: [
        *(0, -1, 0.0, -0.5, math.nan, math.inf, -math.inf, True, "5", None, [], 10**9, HUGE, -HUGE)
    ],
    run_options.check_notification_chat_id: [
        "",
        "  ",
        5,
        True,
        "a\nb",
        "a\0b",
        "\x1b[2J",
        b"chat",
        [],
    ],
    run_options.check_limit: [-1, 1.5, True, "5", None, math.inf, -HUGE],
    run_options.check_status_filter: ["done", "", "COMPLETED", 5, True, [], {}],
}

GOOD: dict[Check, list[Any]] = {
    run_options.check_priority: ["low", "normal", "high", Priority.HIGH],
    run_options.check_max_workers: [1, 2, 64],
    run_options.check_timeout_minutes: [1, 10, 0.5, 0.001, 366 * 24 * 60],
    run_options.check_notification_chat_id: [None, "chat-1", "#tests and more", "グループ"],
    run_options.check_limit: [0, 1, 10**6],
    run_options.check_status_filter: [None, *JobStatus, "completed"],
}


def _cases(values: dict[Check, list[Any]]) -> list[tuple[Check, Any]]:
    return [(check, value) for check, each in values.items() for value in each]


def _name(value: object) -> str:
    is_huge = isinstance(value, int) and abs(value) > 10**12
    return getattr(value, "__name__", "huge" if is_huge else repr(value))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)


@pytest.mark.parametrize(("check", "value"), _cases(BAD), ids=_name)
def test_a_bad_value_is_refused_in_a_sentence(check: Check, value: Any) -> None:
    """A refusal names what is wrong and what would be right."""
    with pytest.raises(InvalidRequestError, match=r"^\w+ is .+, but must be .+\.$"):
        check(value)


@pytest.mark.parametrize(("check", "value"), _cases(GOOD), ids=_name)
def test_a_good_value_is_returned(check: Check, value: Any) -> None:
    """What the contract allows is taken as it is."""
    assert check(value) == value


@steady
@given(st.sampled_from(list(BAD)), ANYTHING)
@example(run_options.check_max_workers, HUGE)
def test_any_value_is_printable_or_refused(check: Check, value: Any) -> None:
    """Whatever a program hands in, a check returns what JSON can hold, or refuses it."""
    try:
        accepted = check(value)
    except InvalidRequestError:
        return
    assert repr(accepted)


@pytest.mark.parametrize("value", [None, 0, 0.0])
def test_a_clock_can_be_switched_off(value: Any) -> None:
    """Nothing and zero both mean that there is no limit."""
    assert run_options.check_optional_amount(value, "x") is None


@pytest.mark.parametrize("value", [1, 0.5, 10**6])
def test_a_clock_can_be_set(value: float) -> None:
    """A limit is any number above zero."""
    assert run_options.check_optional_amount(value, "x") == value


@pytest.mark.parametrize("value", [-1, -0.5, math.nan, math.inf, True, "5", [], HUGE], ids=_name)
def test_a_clock_that_makes_no_sense_is_refused(value: Any) -> None:
    """The refusal tells how to switch the limit off."""
    with pytest.raises(InvalidRequestError, match=r"^x is .+, or 0 to switch it off\.$"):
        run_options.check_optional_amount(value, "x")


def test_a_long_value_is_cut_in_a_refusal() -> None:
    """A refusal stays a sentence, however long the value is."""
    with pytest.raises(InvalidRequestError) as refused:
        run_options.check_priority("urgent" * 1000)
    assert str(refused.value).startswith("priority is 'urgenturgent")
    assert len(str(refused.value)) < 200


def test_a_refusal_names_the_source_of_the_value() -> None:
    """A value from a setting is blamed on the setting."""
    with pytest.raises(InvalidRequestError, match=r"^the environment variable X is 0, but"):
        run_options.check_max_workers(0, "the environment variable X")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("2", 2), (" 2 ", 2), ("-1", -1), ("0.5", 0.5), ("1e2", 100.0), ("inf", math.inf)),
        *(("two", "two"), ("", ""), ("1,5", "1,5"), (2, 2), (None, None), (True, True)),
    ],
)
def test_text_that_is_a_number_becomes_one(text: Any, value: Any) -> None:
    """A number from a command line is a number, and all else stays to be refused."""
    assert run_options.number(text) == value
    assert type(run_options.number(text)) is type(value)


@pytest.mark.parametrize(
    ("position", "bad", "name"),
    [
        (0, "urgent", "priority"),
        (1, 0, "max_workers"),
        (2, -1, "timeout_minutes"),
        (3, "", "notification_chat_id"),
    ],
)
def test_a_request_names_its_bad_value(position: int, bad: Any, name: str) -> None:
    """Of a whole request, the value that cannot be used is the one that is named."""
    values: list[Any] = ["high", 4, 0.5, "chat"]
    values[position] = bad
    with pytest.raises(InvalidRequestError, match=f"^{name} is "):
        RunOptions.parse(*values)


def test_a_request_keeps_its_good_values() -> None:
    """Checked values arrive in their own fields."""
    asked = RunOptions.parse("high", 4, 0.5, "chat")
    assert asked == RunOptions(
        priority=Priority.HIGH, max_workers=4, timeout_minutes=0.5, notification_chat_id="chat"
    )
