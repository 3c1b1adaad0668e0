"""Decide which warm interpreters end, because they are too many or out of date."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_valor_schedule.process.warm_interpreter import Sources, Stamp, differs
from pytest_valor_schedule.process.warm_pool import least_used

BORN, SEEN = 100.0, 102.0


def _stamp(modified: float, inode: int = 1, size: int = 10) -> Stamp:
    return Stamp(int(modified * 1e9), inode, size)


BEFORE: Mapping[str, Stamp | None] = {"a": _stamp(50), "b": _stamp(60), "absent": None}


@pytest.mark.parametrize(
    ("uses", "most", "ended"),
    [
        ((), 2, ()),
        (("a", "b"), 2, ()),
        (("a", "b", "c"), 2, ("a",)),
        (("c", "a", "b"), 1, ("c", "a")),
        (("a",), 0, ("a",)),
    ],
)
def test_the_least_recently_used_ones_end(
    uses: tuple[str, ...], most: int, ended: tuple[str, ...]
) -> None:
    """So many stay, and those that were used last."""
    assert least_used(uses, most) == ended


@pytest.mark.parametrize(
    ("changes", "is_stale"),
    [
        ({}, False),
        ({"a": _stamp(110)}, True),
        ({"a": _stamp(40)}, True),  # an older version
        ({"a": _stamp(50, inode=2)}, True),  # another file with the time of its building
        ({"a": _stamp(50, size=11)}, True),
        ({"a": None}, True),
        ({"absent": _stamp(10)}, True),
    ],
)
def test_any_change_makes_it_stale(changes: dict[str, Stamp | None], is_stale: bool) -> None:
    """Whatever is different from what it has read, also if it seems to be older."""
    assert differs(Sources(BEFORE, BORN, SEEN), {**BEFORE, **changes}) is is_stale


@pytest.mark.parametrize(
    ("modified", "is_stale"), [(BORN, False), (BORN + 1, True), (SEEN + 1, False)]
)
def test_what_changed_while_it_started_may_have_been_read_before(
    modified: float, is_stale: bool
) -> None:
    """It may be of two versions; a time that is yet to come says nothing."""
    stamps = {**BEFORE, "a": _stamp(modified)}
    assert differs(Sources(stamps, BORN, SEEN), stamps) is is_stale
