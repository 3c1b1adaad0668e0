"""Shorten lines to the width of a terminal."""

from __future__ import annotations

import pytest

from pytest_valor_schedule.text.screen import shorten


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (139, "f9a2c starts in 1m 30s, 1st in the queue: waits for 2 worker slots, 0 of 2 free"),
        (79, "f9a2c starts in 1m 30s, 1st in the queue: waits for 2 worker slots, 0 of 2 free"),
        (78, "f9a2c starts in 1m 30s, 1st in the queue: waits for 2 worker slots..."),
        (39, "f9a2c starts in 1m 30s, 1st in the..."),
        (28, "f9a2c starts in 1m 30s..."),
        (2, "f9"),
        (0, ""),
    ],
)
def test_a_line_is_shortened_where_a_part_ends(width: int, shown: str) -> None:
    """Nobody reads half of a number, and what is missing has a mark."""
    line = "f9a2c starts in 1m 30s, 1st in the queue: waits for 2 worker slots, 0 of 2 free"
    assert shorten(line, width) == shown
