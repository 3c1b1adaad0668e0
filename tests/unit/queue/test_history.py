"""Durations: learned, and estimated from."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.queue.database import Database
from pytest_valor_schedule.queue.estimate import Spread, makespan
from pytest_valor_schedule.queue.history import History, Run
from tests.support.properties import steady


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


def test_a_few_known_tests_are_no_basis_for_many(history: History) -> None:
    """Whoever has run one test does not know how long all take; half of them are enough."""
    history.learn("/p", {"a": 1.0}, now=1.0)
    assert history.estimate("/p", ["a", "b", "c"], 1).runs == 0
    assert history.estimate("/p", ["a", "b"], 1).runs == 1


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
    assert history.durations("/p", ids[:1])["0"].seconds == pytest.approx(0.001)
    assert history.estimate("/p", ids[:3], 2).useful_workers == 1


def _others(history: History, means: list[float], overhead: float = 2.0) -> None:
    """Have so many other projects in the history, with ten tests of a length each."""
    for number, mean in enumerate(means):
        seconds = {f"t{n}": mean for n in range(10)}
        run = Run(selection="", workers=1, overhead_seconds=overhead)
        history.learn(f"/other{number}", seconds, float(number), run=run)


def test_a_first_estimate_is_a_range_of_what_other_projects_are_like(history: History) -> None:
    """With fewer than five of them nothing is said; the middle is what is reckoned with."""
    _others(history, [0.01, 0.1, 0.1, 1.0])
    assert history.estimate("/p", ["a"] * 100, 2).text == "duration not known yet (no history yet)"
    _others(history, [0.01, 0.1, 0.1, 1.0, 0.1])
    found = history.estimate("/p", ["a"] * 100, 2)
    assert found.runs == 0
    assert found.seconds == pytest.approx(2 + 50 * 0.1)
    assert found.spread is not None
    assert 2 < found.spread.low < 2 + 50 * 0.02 < 2 + 50 * 0.9 < found.spread.high
    assert found.text == "2s to 1m (no history yet, guessed from 5 other projects)"


def test_a_first_estimate_of_a_project_is_not_its_own_sample(history: History) -> None:
    """What a project is guessed by are others; a project of runs by hand alone counts as none."""
    _others(history, [0.1] * 5)
    for number in range(9):
        history.learn(f"/by_hand{number}", {"t": 100.0}, 1.0)
    assert history.estimate("/p", ["a"] * 100, 1).duration == "10s to 20s"


def test_new_tests_are_guessed_by_the_others_of_their_project(history: History) -> None:
    """By the mean of each file, as soon as there are five files; other projects do not count."""
    _others(history, [100.0] * 5)
    run = Run(selection="", workers=1, overhead_seconds=3.0)
    files = {f"test_{n}.py::test_{t}": 0.1 for n in range(5) for t in range(3)}
    history.learn("/p", files, 1.0, run=run)
    found = history.estimate("/p", ["new"] * 100, 1)
    assert found.basis == "no history yet, guessed from other tests of the project"
    assert found.spread == pytest.approx((13.0, 13.0, 13.0))
    assert found.seconds == pytest.approx(13.0)
    assert found.duration == "10s to 20s"


_SPREADS = st.lists(st.floats(0, 1e4), max_size=30)


@steady
@given(_SPREADS)
def test_a_spread_holds_the_middle_of_its_samples(samples: list[float]) -> None:
    """It is a range with the geometric mean in it, or nothing where samples are few."""
    found = Spread.of(samples)
    assert (found is None) == (len(samples) < 5)
    if found is not None:
        middle = statistics.geometric_mean([max(each, 0.001) for each in samples])
        assert found.middle == pytest.approx(middle)
        assert 0 < found.low <= found.middle <= found.high


def test_most_of_what_comes_lies_in_the_spread() -> None:
    """Four of five, of what is spread by factors, also where it rests on few samples."""
    dice, inside = random.Random(1), 0
    for _ in range(1000):
        drawn = [dice.lognormvariate(-2, 1.5) for _ in range(9)]
        found = Spread.of(drawn[1:])
        assert found is not None
        inside += found.low <= drawn[0] <= found.high
    assert 700 < inside < 900


def test_a_peak_rises_at_once_and_sinks_slowly(history: History) -> None:
    """And is scaled to the number of workers; other jobs of a project take the largest."""

    def expected(selected: str, workers: int = 1) -> float:
        return history.estimate("/p", ["t"], workers, selected).memory_bytes / 2**20

    assert expected("a") == 128
    for size in (200, 400, 200):
        run = Run(selection="a", workers=1, peak_memory_bytes=size * 2**20)
        history.learn("/p", {}, 1.0, run=run)
    assert expected("a") == 300
    assert expected("a", workers=3) == 600
    assert expected("b") == 300
    history.learn("/p", {}, 2.0, run=Run(selection="a", workers=1))
    assert expected("a") == 300
