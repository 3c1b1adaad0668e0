"""Decide how soon a dispatcher that ended has a successor."""

from __future__ import annotations

import pytest

from pytest_valor_schedule.daemon.watcher import pause_before_next


@pytest.mark.parametrize(
    ("code", "lived", "deaths", "pause"),
    [
        (0, 0.1, 0, None),  # it had nothing to do
        (-9, 3600.0, 0, 0.0),
        (-9, 3600.0, 7, 0.0),
        (-9, 1.0, 0, 1.0),
        (-9, 1.0, 3, 8.0),
        (-9, 1.0, 5000, 60.0),  # it is never given up
        (1, 3600.0, 0, 0.0),
        (1, 1.0, 9, 60.0),
        (1, 1.0, 10, None),  # it is not what comes from outside
    ],
)
def test_who_dies_young_is_followed_more_and_more_slowly(
    code: int, lived: float, deaths: int, pause: float | None
) -> None:
    """A dispatcher that cannot live costs next to nothing."""
    assert pause_before_next(code, lived, deaths) == pause
