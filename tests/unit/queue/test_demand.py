"""How long a running job is expected to go on."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_valor_schedule._util import clock
from pytest_valor_schedule.daemon.progress import Progress
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.queue import demand
from pytest_valor_schedule.queue.demand import Pace, Work, remaining_of_run, remaining_seconds
from pytest_valor_schedule.record import event_log
from pytest_valor_schedule.record.event_log import EventLog
from tests.support.jobs import a_job
from tests.support.properties import steady

NOW = 1_700_000_000.0
LIMIT = 600.0
_SECONDS = st.floats(0, 1e4)
_standings = st.builds(
    Pace,
    has_begun=st.booleans(),
    queued_seconds=st.none() | _SECONDS,
    running=st.lists(st.tuples(_SECONDS, st.floats(NOW - 1e4, NOW))).map(tuple),
)


def _left(expected: float, pace: Pace, now: float, workers: int = 2) -> float:
    return remaining_of_run(expected, now - NOW, workers, pace, now)


def _job(estimate: float, **changes: Any) -> Job:
    job = a_job(estimated_seconds=estimate, max_workers=2, timeout_minutes=LIMIT / 60)
    return dataclasses.replace(job, started_at=NOW, workers=2, **changes)


def _progress(finished: int, queued: float, *running: tuple[float, float]) -> dict[str, Any]:
    """Return what a runner says: of tests that run what is expected, and when they began."""
    tests = [
        {"worker": "gw0", "expected_seconds": each, "started_at": clock.to_text(at)}
        for each, at in running
    ]
    return {"finished": finished, "total": 100, "queued_seconds": queued, "running": tests}


@steady
@given(_SECONDS, _standings, _SECONDS, st.floats(0, 1e4), st.integers(1, 8))
def test_what_is_left_grows_no_faster_than_the_time_goes_by(
    expected: float, pace: Pace, elapsed: float, more: float, workers: int
) -> None:
    """Also when an estimate is over, and it sinks no faster: the end that is told never jumps."""
    before = _left(expected, pace, NOW + elapsed, workers)
    after = _left(expected, pace, NOW + elapsed + more, workers)
    assert before >= 0
    assert abs(after - before) <= more * max(1, len(pace.running) / workers) + 1e-3


@steady
@given(_SECONDS, _standings, _SECONDS)
def test_a_running_job_ends_after_now_and_within_its_limit(
    expected: float, pace: Pace, elapsed: float
) -> None:
    """Whatever its runner says; and never at once, because it still runs."""
    queued = 0.0 if pace.queued_seconds is None else pace.queued_seconds
    said = _progress(int(pace.has_begun), queued, *pace.running)
    now = NOW + elapsed
    ends = demand.expected_end(_job(expected), now, said)
    assert now + 1 <= ends <= max(NOW + LIMIT, now + 1)


@steady
@given(_SECONDS, _SECONDS)
def test_nothing_is_left_when_all_tests_have_finished(expected: float, elapsed: float) -> None:
    """However long the job was expected to take."""
    assert _left(expected, Pace(has_begun=True, queued_seconds=0.0), NOW + elapsed) == 0


def test_what_is_late_becomes_twice_as_late() -> None:
    """Before its time something takes what is left of it, and beyond that as long again."""
    times = [(0, 10), (4, 6), (10, 1), (12, 2), (20, 10), (100, 90)]
    assert [remaining_seconds(10, elapsed) for elapsed, _ in times] == [left for _, left in times]


def test_the_pace_counts_once_tests_have_begun() -> None:
    """The estimate before; afterwards what is queued by the workers, or the longest that runs."""
    job = _job(20.0)

    def left(progress: dict[str, Any] | None, now: float = NOW + 5) -> float:
        return demand.expected_end(job, now, progress) - now

    assert left(None) == left(_progress(0, 30.0)) == 15
    assert left(_progress(0, 90.0)) == 45
    assert left(_progress(3, 90.0)) == 45
    assert left(_progress(3, 6.0, (4.0, NOW + 5), (8.0, NOW + 1))) == 7
    assert left(_progress(3, 0.0, (4.0, NOW + 5), (9.0, NOW + 4))) == 8
    assert left(_progress(3, 0.0, (1.0, NOW + 4), (9.0, NOW - 1e5))) == LIMIT - 5


def test_what_a_runner_of_another_version_says_is_no_fault() -> None:
    """Then the estimate is all there is."""
    older = {"finished": 3, "total": 9, "running": [{"worker": "gw0", "started_at": None}]}
    for said in (None, {}, older, {"running": 7}, {"running": [7]}, {"queued_seconds": "x"}):
        assert demand.expected_end(_job(20.0), NOW + 5, said) == NOW + 20


def test_a_job_without_history_has_a_known_end_when_tests_have_finished() -> None:
    """Before that, its end is a guess that nobody is told."""
    job = _job(20.0, estimated_from_runs=0)
    said = [
        demand.knows_end(job, progress) for progress in (None, _progress(0, 1), _progress(1, 1))
    ]
    assert said == [False, False, True]
    assert demand.knows_end(_job(20.0), None)


def test_a_slow_run_is_believed_little_by_little() -> None:
    """A first test that took long does not multiply all others; a tenth of them nearly does."""
    known = {f"t{n}": 0.1 for n in range(1000)}
    work = Work.of(known, known, 9.0)
    assert work.seconds > 99.9
    assert work.slowness(0, 0) == 1
    assert work.slowness(0.1, 2.0) < 1.5
    assert 5 < work.slowness(10, 100) < 10


def test_without_history_the_first_tests_tell_the_pace() -> None:
    """A guess weighs no more than one test, and an unknown test counts as a slow one."""
    work = Work.of(map(str, range(1000)), {}, 0.5)
    assert work.seconds == 500
    assert work.slowness(5.0, 0.1) < 0.12
    beside = Work.of(["a", "b", "new"], {"a": 1.0, "b": 3.0}, 0.5)
    assert (beside.of_test("a"), beside.of_test("new"), beside.seconds) == (1.0, 1.0, 5.0)


def test_the_pace_is_measured_from_test_to_test_of_each_worker(tmp_path: Path) -> None:
    """With what lies between them; the tests that run, and those after them, are told by it."""
    tests = [f"t{n}" for n in range(8)]
    work = Work.of(tests, dict.fromkeys(tests, 1.0), 9.0)
    progress = Progress(tmp_path, "1.1", work)
    with contextlib.ExitStack() as stack:
        first, second = (
            stack.enter_context(
                contextlib.closing(EventLog(event_log.path(tmp_path, "1.1", worker)))
            )
            for worker in ("gw0", "gw1")
        )
        first.write({"kind": "start", "id": "t0", "at": NOW, "moment": 50.0})
        second.write({"kind": "start", "id": "t1", "at": NOW, "moment": "late"})
        first.write({"kind": "report", "id": "t0", "phase": "teardown", "outcome": "passed"})
        first.write({"kind": "start", "id": "t2", "at": NOW, "moment": 60.0})
    progress.look(99.0)
    slowness = (1.8 + 10) / (1.8 + 1)
    assert progress.queued_seconds() == pytest.approx(5 * slowness, abs=0.01)
    told = {each["nodeid"]: each["expected_seconds"] for each in progress.running()}
    assert told == pytest.approx({"t1": slowness, "t2": slowness}, abs=0.01)
    said = {**progress.counts(), "running": progress.running(), "queued_seconds": 0.0}
    assert Pace.of(said).has_begun
    assert [began for _, began in Pace.of(said).running] == [NOW, NOW]
