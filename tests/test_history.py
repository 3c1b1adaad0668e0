"""Durations: learned, and estimated from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import steady

from pytest_valor_schedule.database import Database
from pytest_valor_schedule.history import History, Run, makespan
from pytest_valor_schedule.home import Home


@pytest.fixture
def history(home: Home) -> Iterator[History]:
    """An empty history."""
    home.make()
    database = Database(home.database)
    yield History(database)
    database.close()


def _seconds(history: History, *nodeids: str, project: str = "/p", workers: int = 1) -> float:
    """Return what the tests alone are expected to take, without the start of pytest."""
    alone = history.estimate(project, [], workers).seconds
    return history.estimate(project, nodeids, workers).seconds - alone


def test_a_learned_duration_is_the_estimate(history: History) -> None:
    """What a test took once is what it is expected to take."""
    history.learn("/p", {"a": 2.0, "b": 3.0}, now=1.0)
    assert _seconds(history, "a") == pytest.approx(2.0)
    assert _seconds(history, "a", "b") == pytest.approx(5.0)
    assert _seconds(history, "a", "b", workers=2) == pytest.approx(3.0)


def test_a_newer_run_weighs_more_than_all_before_it_together(history: History) -> None:
    """The estimate follows a test that has become slower."""
    for run in range(5):
        history.learn("/p", {"a": 2.0}, now=run)
    history.learn("/p", {"a": 4.0}, now=5.0)
    assert _seconds(history, "a") == pytest.approx(3.0)


def test_projects_do_not_share_durations(history: History) -> None:
    """Equal node ids of two projects are two tests."""
    history.learn("/p", {"a": 2.0}, now=1.0)
    history.learn("/q", {"a": 7.0}, now=1.0)
    assert _seconds(history, "a") == pytest.approx(2.0)
    assert _seconds(history, "a", project="/q") == pytest.approx(7.0)


def test_an_unknown_test_counts_as_a_slow_one(history: History) -> None:
    """A test without history is taken for the 90th percentile of the known ones beside it."""
    history.learn("/p", {str(number): float(number) for number in range(11)}, now=1.0)
    known = [str(number) for number in range(11)]
    assert _seconds(history, *known, "new") - _seconds(history, *known) == pytest.approx(9.0)


def test_an_estimate_says_how_many_runs_it_rests_on(history: History) -> None:
    """People see whether an estimate rests on anything."""
    assert history.estimate("/p", ["a"], 1).basis == "no history yet"
    history.learn("/p", {"a": 1.0}, now=1.0)
    assert history.estimate("/p", ["a"], 1).basis == "from 1 run"
    history.learn("/p", {"a": 1.0}, now=2.0)
    assert history.estimate("/p", ["a"], 1).basis == "from 2 runs"


def test_runs_of_other_tests_are_no_basis(history: History) -> None:
    """An estimate of new tests does not claim the history of their neighbours."""
    history.learn("/p", {"a": 1.0}, now=1.0)
    assert history.estimate("/p", ["new"], 1).basis == "no history yet"


def test_learning_nothing_changes_nothing(history: History) -> None:
    """A run without results leaves the history as it was."""
    before = history.estimate("/p", ["a"], 4)
    history.learn("/p", {}, now=1.0)
    assert history.estimate("/p", ["a"], 4) == before
    assert before.runs == 0


def test_a_node_id_of_any_characters_is_learned(history: History) -> None:
    """Also a file name that is no valid Unicode has a history."""
    history.learn("/p", {"test_\udcff.py::a": 2.0}, now=1.0)
    assert _seconds(history, "test_\udcff.py::a") == pytest.approx(2.0)


_WHOLE = st.lists(st.integers(0, 1000).map(float))  # exact in floating point
_WORKERS = st.integers(1, 8)


@steady
@given(_WHOLE, _WORKERS)
def test_a_makespan_lies_between_the_bounds(seconds: list[float], workers: int) -> None:
    """No schedule beats the longest test or the fair share; Graham's bound holds from above."""
    longest, fair = max(seconds, default=0.0), sum(seconds) / workers
    span = makespan(seconds, workers)
    assert max(longest, fair) <= span <= fair + longest * (1 - 1 / workers) + 1e-6


@steady
@given(_WHOLE)
def test_one_worker_takes_the_sum(seconds: list[float]) -> None:
    """With a single worker nothing overlaps."""
    assert makespan(seconds, 1) == sum(seconds)


@steady
@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(0, 8))
def test_with_a_worker_for_each_test_the_longest_decides(seconds: list[float], spare: int) -> None:
    """More workers than tests do not help."""
    assert makespan(seconds, len(seconds) + spare) == max(seconds)


def test_the_longest_tests_go_first() -> None:
    """A long test that comes last in the list does not end last."""
    assert makespan([1.0, 1.0, 1.0, 1.0, 4.0], 2) == 4.0


def test_what_lies_between_tests_counts_too(history: History) -> None:
    """Very many empty tests take time, and are worth a second worker."""
    ids = [str(number) for number in range(3000)]
    run = Run(selection="", workers=1, overhead_seconds=1.0, gap_seconds=0.001)
    history.learn("/p", dict.fromkeys(ids, 0.0), 1.0, run=run)
    found = history.estimate("/p", ids, 2)
    assert found.useful_workers == 2
    assert found.seconds == pytest.approx(1.0 + 1.5, abs=0.01)
    assert history.known("/p", ids[:1])["0"].seconds == pytest.approx(0.001)
    assert history.estimate("/p", ids[:3], 2).useful_workers == 1
