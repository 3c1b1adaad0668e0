"""A suite with a failure, for an agent to find and mend."""

from __future__ import annotations

import pytest


def discounted(cents: int, percent: int) -> int:
    return cents - percent


@pytest.mark.parametrize("cents", [0, 1, 2000])
def test_no_discount(cents: int) -> None:
    assert discounted(cents, 0) == cents


def test_discount() -> None:
    assert discounted(2000, 10) == 1800
