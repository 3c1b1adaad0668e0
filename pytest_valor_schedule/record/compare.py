"""Compare the results of two runs of the same tests. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_valor_schedule.model.job_terms import BAD as BAD

Result = Mapping[str, Any]
_SLOWER = 2.0
_LEAST_SECONDS = 0.1  # a test that is quicker than that is not called slow


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What became different, each as node ids in the order of collection.

    Attributes:
        newly_failing: Bad now, and not bad before: it passed, was not run, or was not there.
        fixed: Bad before, and not bad now.
        still_failing: Bad both times.
        new: Not there before.
        gone: Not there any more.
        not_run: Not run now, but before, or not there before.
        slower: Of tests that took at least twice as long: the seconds before and now.
    """

    newly_failing: tuple[str, ...]
    fixed: tuple[str, ...]
    still_failing: tuple[str, ...]
    new: tuple[str, ...]
    gone: tuple[str, ...]
    not_run: tuple[str, ...]
    slower: Mapping[str, tuple[float, float]]


def compare(before: Iterable[Result], now: Iterable[Result]) -> Comparison:
    """Compare the results of an earlier run with those of a later one."""
    earlier, later = _by_nodeid(before), _by_nodeid(now)
    both = [nodeid for nodeid in later if nodeid in earlier]
    ran = [each for each in both if _ran(earlier[each]) and _ran(later[each])]
    return Comparison(
        newly_failing=tuple(
            each for each in later if _bad(later[each]) and not _bad(earlier.get(each))
        ),
        fixed=tuple(each for each in ran if _bad(earlier[each]) and not _bad(later[each])),
        still_failing=tuple(each for each in both if _bad(earlier[each]) and _bad(later[each])),
        new=tuple(nodeid for nodeid in later if nodeid not in earlier),
        gone=tuple(nodeid for nodeid in earlier if nodeid not in later),
        not_run=tuple(
            each
            for each in later
            if not _ran(later[each]) and (each not in earlier or _ran(earlier[each]))
        ),
        slower={
            each: (_seconds(earlier[each]), _seconds(later[each]))
            for each in ran
            if _seconds(later[each]) >= max(_LEAST_SECONDS, _SLOWER * _seconds(earlier[each]))
        },
    )


def streaks(runs: Sequence[Iterable[Result]]) -> dict[str, int]:
    """Return of each test that is bad now in how many runs in a row it has been.

    The newest run comes first. One that did not come to a test is passed over.
    """
    if not runs:
        return {}
    lengths = {nodeid: 1 for nodeid, result in _by_nodeid(runs[0]).items() if _bad(result)}
    going_on = set(lengths)
    for run in runs[1:]:
        for nodeid, result in _by_nodeid(run).items():
            if nodeid in going_on and _bad(result):
                lengths[nodeid] += 1
            elif nodeid in going_on and _ran(result):
                going_on.discard(nodeid)
    return lengths


def _by_nodeid(results: Iterable[Result]) -> dict[str, Result]:
    return {str(result["nodeid"]): result for result in results}


def _bad(result: Result | None) -> bool:
    return result is not None and result["outcome"] in BAD


def _ran(result: Result) -> bool:
    return bool(result["outcome"] != "not_run")


def _seconds(result: Result) -> float:
    return float(result.get("duration_seconds") or 0.0)
