"""How two runs differ."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_valor_schedule.record.compare import BAD, compare, streaks

OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed", "crashed", "not_run")
Run = dict[str, tuple[str, float]]
runs = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.sampled_from(OUTCOMES), st.floats(0, 10))
)


def _results(run: Run) -> list[dict[str, Any]]:
    return [{"nodeid": n, "outcome": o, "duration_seconds": s} for n, (o, s) in run.items()]


@given(runs, runs)
def test_every_bad_test_is_either_new_or_old(before: Run, now: Run) -> None:
    """What is bad now fails newly or still, never both; what is fixed was bad and is not."""
    found = compare(_results(before), _results(now))
    bad = {name for name, (outcome, _) in now.items() if outcome in BAD}
    assert bad == set(found.newly_failing) | set(found.still_failing)
    assert not set(found.newly_failing) & set(found.still_failing)
    assert all(before[name][0] in BAD and name not in bad for name in found.fixed)
    assert all(now[name][0] != "not_run" for name in found.fixed)
    assert set(found.new) == now.keys() - before.keys()
    assert set(found.gone) == before.keys() - now.keys()
    ran_before = {name for name, (outcome, _) in before.items() if outcome != "not_run"}
    not_run = {name for name, (outcome, _) in now.items() if outcome == "not_run"}
    assert set(found.not_run) == {n for n in not_run if n in ran_before or n not in before}


@given(runs)
def test_a_run_does_not_differ_from_itself(run: Run) -> None:
    """Nothing is new, gone, fixed or slower, unless it took no time at all."""
    found = compare(_results(run), _results(run))
    assert found.newly_failing == found.fixed == found.new == found.gone == found.not_run == ()
    assert found.slower == {}


def test_twice_as_slow_is_slower() -> None:
    """From twice the time on, where that is more than a tenth of a second."""
    before = {"a": ("passed", 1.0), "b": ("passed", 1.0), "c": ("passed", 0.01)}
    now = {"a": ("passed", 2.0), "b": ("passed", 1.9), "c": ("passed", 0.09)}
    assert compare(_results(before), _results(now)).slower == {"a": (1.0, 2.0)}


def test_failures_in_a_row_are_counted_back() -> None:
    """Until the first run in which the test did not fail; one that did not come to it is no end."""
    new = {"a": ("failed", 0.0), "b": ("error", 0.0), "c": ("passed", 0.0)}
    empty: Run = {"a": ("not_run", 0.0)}
    older = {"a": ("crashed", 0.0), "b": ("passed", 0.0), "c": ("failed", 0.0)}
    oldest = {"a": ("failed", 0.0), "b": ("failed", 0.0)}
    found = streaks([_results(each) for each in (new, empty, older, oldest)])
    assert found == {"a": 3, "b": 1}
    assert streaks([]) == {}
