from __future__ import annotations


def test_sum() -> None:
    assert sum([450, 900, 900]) == 2250
