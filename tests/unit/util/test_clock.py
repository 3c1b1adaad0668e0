"""Times and durations as text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_valor_schedule._util import clock
from tests.support.properties import moments, steady


@steady
@given(moments)
def test_a_moment_survives_the_way_to_text_and_back(moment: float) -> None:
    """Text keeps a point in time to the microsecond."""
    assert clock.from_text(clock.to_text(moment)) == moment


def test_a_moment_is_written_in_utc() -> None:
    """The text is ISO 8601 with its offset, whatever the time zone of the machine."""
    assert clock.to_text(0.0) == "1970-01-01T00:00:00+00:00"


def test_text_of_another_offset_is_the_same_moment() -> None:
    """Reading honours the offset that a text names."""
    assert clock.from_text("1970-01-01T02:00:00+02:00") == 0.0


def test_no_moment_is_no_text() -> None:
    """None stays None both ways."""
    assert clock.to_text(None) is None
    assert clock.from_text(None) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1s"),
        (0.2, "1s"),
        (42, "42s"),
        (59.1, "1m"),
        (60, "1m"),
        (89.5, "1m 30s"),
        (3599.5, "1h"),
        (3661, "1h 1m"),
        (7500, "2h 5m"),
        (360_000, "100h"),
    ],
)
def test_a_duration_is_short_text(seconds: float, text: str) -> None:
    """A duration has at most two units, and is never nothing."""
    assert clock.duration_text(seconds) == text


@steady
@given(st.integers(1, 10**7))
def test_duration_text_names_the_duration(seconds: int) -> None:
    """Read back, the text is the duration, to the second below an hour and then to the minute."""
    units = {"h": 3600, "m": 60, "s": 1}
    parts = re.findall(r"(\d+)([hms])", clock.duration_text(seconds))
    exactness = 1 if seconds < 3600 else 60
    assert (
        sum(int(count) * units[unit] for count, unit in parts) == seconds // exactness * exactness
    )


@pytest.mark.parametrize(
    ("least", "most", "text"),
    [
        (0.3, 0.9, "up to 1s"),
        (3.0, 4.0, "2s to 5s"),
        (2.0, 2.0, "up to 2s"),
        (11.0, 118.0, "10s to 2m"),
        (299.0, 4000.0, "2m to 2h"),
        (9000.0, 9000.0, "1h to 3h"),
    ],
)
def test_a_range_is_told_in_round_numbers(least: float, most: float, text: str) -> None:
    """Wide enough to hold what it is about, and no more exact than a guess can be."""
    assert clock.range_text(least, most) == text


@steady
@given(moments, moments, st.floats(0, 10**6))
def test_what_has_passed_is_within_what_can_be(since: float, now: float, most: float) -> None:
    """A clock that was set back or forward shows neither less than nothing nor too much."""
    passed = clock.elapsed(since, now, most)
    assert 0 <= passed <= most
    if 0 <= now - since <= most:
        assert passed == now - since
