"""Make the units in which the tests of a run are handed out, and sort them. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import groupby
from math import log2
from typing import NamedTuple

_PIECE_SECONDS = 0.15
_PIECES_FOR_EACH_WORKER = 8


class TestOrder(StrEnum):
    """Which unit goes first."""

    __test__ = False

    LONGEST = "longest"
    FAILED_FIRST = "failed-first"
    COLLECTED = "collected"


class PastRun(NamedTuple):
    """What the history has of a test."""

    seconds: float
    failed: bool


@dataclasses.dataclass(frozen=True, slots=True)
class WorkUnit:
    """Tests that one worker runs one after the other.

    Attributes:
        indices: Of the tests in the collection, in its order.
        seconds: What they are expected to take; None where nothing is known of any test.
        failed: Whether one of them failed the last time.
    """

    indices: tuple[int, ...]
    seconds: float | None = None
    failed: bool = False


def fill_unknown(seconds: Sequence[float | None], otherwise: float) -> list[float]:
    """Count unknown tests as the 90th percentile of the known ones, or else as a given value."""
    values = sorted(value for value in seconds if value is not None)
    unknown = values[int(0.9 * (len(values) - 1))] if values else otherwise
    return [unknown if value is None else value for value in seconds]


def make_units(
    nodeids: Sequence[str], history: Mapping[str, PastRun], dist: str, workers: int
) -> list[WorkUnit]:
    """Return the units of a collection, in its order.

    Where each test may go anywhere, short ones that stand side by side in a file stay together, so
    that the fixtures of the file are not made anew for each of them.

    Args:
        nodeids: The collection, as xdist names the tests.
        history: What it has of them by node id.
        dist: xdist's mode: "loadscope", "loadfile" and "loadgroup" keep tests together.
        workers: How many there are.
    """
    runs = [history.get(without_group(nodeid, dist)) for nodeid in nodeids]
    failures = [run is not None and run.failed for run in runs]
    if not any(runs):
        alone = [(index,) for index in range(len(nodeids))]
        return [WorkUnit(indices) for indices in _together(nodeids, dist) or alone]
    seconds = fill_unknown([run and run.seconds for run in runs], 0.0)
    most = min(_PIECE_SECONDS, sum(seconds) / (_PIECES_FOR_EACH_WORKER * workers))
    parts = _together(nodeids, dist) or _pieces(nodeids, seconds, most)
    return [
        WorkUnit(part, sum(seconds[i] for i in part), any(failures[i] for i in part))
        for part in parts
    ]


def _together(nodeids: Sequence[str], dist: str) -> list[tuple[int, ...]]:
    """Return which tests a mode of xdist keeps together; nothing for a mode that keeps none."""
    key = _KEYS.get(dist)
    if key is None:
        return []
    parts: dict[str, list[int]] = {}
    for index, nodeid in enumerate(nodeids):
        parts.setdefault(key(nodeid), []).append(index)
    return [tuple(part) for part in parts.values()]


def _file_of(nodeid: str) -> str:
    return nodeid.split("::", 1)[0]


def _has_group(nodeid: str) -> bool:
    return nodeid.rfind("@") > nodeid.rfind("]")  # a parameter can have one too


def without_group(nodeid: str, dist: str) -> str:
    """Return a node id as it was before xdist appended "@group" to it, in the mode that does."""
    in_group = dist == "loadgroup" and _has_group(nodeid)
    return nodeid.rpartition("@")[0] if in_group else nodeid


_KEYS: dict[str, Callable[[str], str]] = {
    "loadscope": lambda nodeid: nodeid.rsplit("::", 1)[0],
    "loadfile": _file_of,
    "loadgroup": lambda nodeid: nodeid.rpartition("@")[2] if _has_group(nodeid) else nodeid,
}


def _pieces(nodeids: Sequence[str], seconds: Sequence[float], most: float) -> list[tuple[int, ...]]:
    """Return neighbours of one file that together take no longer than so many seconds."""
    pieces: list[tuple[int, ...]] = []
    for _, group in groupby(range(len(nodeids)), lambda index: _file_of(nodeids[index])):
        piece, length = list[int](), 0.0
        for index in group:
            if piece and length + seconds[index] > most:
                pieces.append(tuple(piece))
                piece, length = [], 0.0
            piece.append(index)
            length += seconds[index]
        pieces.append(tuple(piece))
    return pieces


def sort_units(units: Iterable[WorkUnit], order: TestOrder) -> list[WorkUnit]:
    """Return units in the order in which they are handed out.

    Longest first is list scheduling by longest processing time (Graham, 1969). Among units of about
    the same length those that failed the last time go first.
    """
    if order is TestOrder.COLLECTED:
        return sorted(units, key=lambda unit: unit.indices)
    if order is TestOrder.FAILED_FIRST:
        return sorted(units, key=lambda u: (not u.failed, -(u.seconds or 0.0), u.indices))
    return sorted(units, key=lambda u: (-_size(u), not u.failed, -(u.seconds or 0.0), u.indices))


def _size(unit: WorkUnit) -> int:
    """Return the length of a unit in steps of a factor of two."""
    return round(log2(max(unit.seconds or 0.0, 1e-3)))
