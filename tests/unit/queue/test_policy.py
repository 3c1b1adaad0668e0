"""Which jobs start now, and with how many workers."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_valor_schedule.config.settings import AGING_SECONDS
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import Priority
from pytest_valor_schedule.queue import demand, policy
from pytest_valor_schedule.queue.demand import Running
from tests.support.jobs import a_job
from tests.support.properties import steady

NOW = 1_700_000_000.0


def _job(name: str, workers: int = 1, seconds: float = 10.0, **changes: Any) -> Job:
    fields: dict[str, Any] = {"created_at": NOW, "test_count": 100, "max_workers": workers}
    return a_job(job_id=name, estimated_seconds=seconds, **(fields | changes))


def _started(queue: list[Job], running: list[Running], total: int) -> list[tuple[str, int]]:
    return [(job.job_id, n) for job, n in policy.to_start(queue, running, total, NOW)]


_queues = st.lists(
    st.tuples(
        st.integers(1, 6),
        st.floats(0.1, 1000),
        st.sampled_from(Priority),
        st.floats(0, 2 * AGING_SECONDS),
        st.integers(1, 8),
    ),
    max_size=8,
).map(
    lambda rows: [
        _job(f"q{n}", workers, seconds, priority=priority, created_at=NOW - age, test_count=tests)
        for n, (workers, seconds, priority, age, tests) in enumerate(
            sorted(rows, key=lambda row: -row[3])
        )
    ]
)
_AROUND_THE_LIMIT = [  # of ten minutes
    _job(f"q{n}", workers, seconds, priority=Priority.LOW)
    for n, (workers, seconds) in enumerate(
        [(1, 1.0), (1, 600.0), (1, 601.0), (1, 601.0), (1, 601.0), (3, 301.0), (3, 201.0)]
    )
]
_totals = st.integers(1, 8)
GIB = 2.0**30


_hungry = st.tuples(_queues, st.lists(st.integers(0, int(4 * GIB)), min_size=8, max_size=8)).map(
    lambda drawn: [
        dataclasses.replace(job, estimated_memory_bytes=size)
        for job, size in zip(*drawn, strict=False)
    ]
)


@st.composite
def _machines(draw: st.DrawFn) -> tuple[list[Running], int]:
    """Return jobs that run, and a number of slots in which they fit."""
    total = free = draw(_totals)
    running: list[Running] = []
    while free and draw(st.booleans()):
        slots = draw(st.integers(1, free))
        running.append(Running(f"r{len(running)}", slots, NOW + draw(st.floats(0, 1000))))
        free -= slots
    return running, total


def test_a_more_urgent_job_starts_first_however_young() -> None:
    """Priority comes before age."""
    queue = [_job(each, priority=each, created_at=NOW - 60) for each in Priority]
    assert [job.job_id for job in policy.in_order(queue)] == ["high", "normal", "low"]


def test_who_has_waited_long_enough_comes_first() -> None:
    """A low job that is older by two steps starts before any stream of high ones."""
    low = _job("low", priority=Priority.LOW, created_at=NOW - 2 * AGING_SECONDS - 1)
    high = [_job(f"high{n}", priority=Priority.HIGH, created_at=NOW + n) for n in range(50)]
    assert policy.in_order([low, *high])[0] == low
    assert policy.in_order([low, *high], aging=1e9)[-1] == low


def test_a_clock_that_is_set_back_lets_nobody_jump_ahead() -> None:
    """Age is the place in the queue, whatever the clock said."""
    queue = [_job("first"), _job("second", created_at=NOW - 3600), _job("third", created_at=NOW)]
    assert policy.in_order(queue) == queue


def test_jobs_share_the_slots() -> None:
    """As many start as fit, each with what it can use."""
    queue = [_job("a", 2), _job("b", 1), _job("c", 5, test_count=1)]
    assert _started(queue, [], 4) == [("a", 2), ("b", 1), ("c", 1)]


def test_a_job_gets_no_more_than_the_machine_has() -> None:
    """Somebody who wants more than there is runs with what there is."""
    assert _started([_job("a", 64)], [], 2) == [("a", 2)]


def test_a_short_job_goes_ahead_where_it_delays_nobody() -> None:
    """The first that does not fit keeps its reservation; what ends before it may start."""
    running = [Running("r", 3, NOW + 30)]
    big = _job("big", 4, 1000.0)
    assert _started([big, _job("short", 1, 20.0), _job("long", 1, 60.0)], running, 4) == [
        ("short", 1)
    ]


def test_a_long_job_may_use_what_the_reservation_leaves() -> None:
    """Slots that will be spare then can be given away now."""
    running = [Running("r", 2, NOW + 30)]
    queue = [_job("big", 3, 1000.0), _job("long", 1, 5000.0), _job("longer", 1, 5000.0)]
    assert _started(queue, running, 4) == [("long", 1)]


def test_fewer_workers_now_may_be_sooner_than_more_later() -> None:
    """A job does not wait a minute for a second worker that saves it five seconds."""
    running = [Running("r", 1, NOW + 60)]
    assert _started([_job("a", 2, 5.0)], running, 2) == [("a", 1)]
    assert _started([_job("a", 2, 500.0)], running, 2) == []


@steady
@given(_queues, _machines())
def test_there_are_never_more_workers_than_slots(
    queue: list[Job], machine: tuple[list[Running], int]
) -> None:
    """Whatever is queued and runs, and nobody gets more than it can use, or starts twice."""
    running, total = machine
    starts = policy.to_start(queue, running, total, NOW)
    assert sum(each.slots for each in running) + sum(n for _, n in starts) <= total
    assert all(1 <= n <= job.worker_demand for job, n in starts)
    assert len({job.job_id for job, _ in starts}) == len(starts)
    assert starts == policy.to_start(queue, running, total, NOW)


@steady
@given(_queues, _machines())
def test_no_slot_is_left_that_somebody_could_use(
    queue: list[Job], machine: tuple[list[Running], int]
) -> None:
    """What did not start would not start if it were asked again, and a free machine starts some."""
    running, total = machine
    starts = policy.to_start(queue, running, total, NOW)
    started = {job.job_id for job, _ in starts}
    then = [*running, *(_as_running(job, workers) for job, workers in starts)]
    waiting = [job for job in queue if job.job_id not in started]
    assert policy.to_start(waiting, then, total, NOW) == []
    assert starts or running or not queue


def _as_running(job: Job, workers: int) -> Running:
    seconds = min(demand.expected_seconds(job, workers), job.timeout_minutes * 60)
    return Running(job.job_id, workers, NOW + seconds)


@steady
@example(_AROUND_THE_LIMIT, ([], 6))
@given(_queues, _machines())
def test_nobody_delays_the_first_that_waits(
    queue: list[Job], machine: tuple[list[Running], int]
) -> None:
    """With those that went ahead its slots are free no later than without them."""
    running, total = machine
    starts = policy.to_start(queue, running, total, NOW)
    started = {job.job_id for job, _ in starts}
    ordered = policy.in_order(queue)
    first = next((job for job in ordered if job.job_id not in started), None)
    if first is None:
        return
    before = ordered[: ordered.index(first)]
    need = demand.needs(first, total)
    earlier = [*running, *(_as_running(job, n) for job, n in starts if job in before)]
    everybody = [*running, *(_as_running(job, n) for job, n in starts)]
    assert _free_at(everybody, total, need) <= _free_at(earlier, total, need)


def _free_at(running: list[Running], total: int, need: int) -> float:
    """Return when so many slots will be free."""
    ends = sorted([NOW, *(each.ends_at for each in running)])
    return next(
        moment
        for moment in ends
        if total - sum(each.slots for each in running if each.ends_at > moment) >= need
    )


@steady
@given(_queues, _machines())
def test_everybody_starts_some_day(queue: list[Job], machine: tuple[list[Running], int]) -> None:
    """A forecast has a time for each job, none of them in the past."""
    running, total = machine
    starts = policy.forecast(queue, running, total, NOW)
    assert starts.keys() == {job.job_id for job in queue}
    assert all(moment >= NOW for moment in starts.values())


@pytest.mark.parametrize(
    ("started", "estimate", "ends"),
    [
        (NOW - 5, 20.0, NOW + 15),
        (NOW - 21, 20.0, NOW + 2.1),
        (NOW - 50, 20.0, NOW + 30),
        (NOW - 590, 20.0, NOW + 10),
        (NOW - 900, 20.0, NOW + 1),
        (NOW + 900, 20.0, NOW + 20),
    ],
)
def test_a_job_that_overruns_its_estimate_is_expected_to_end_some_time_after(
    started: float, estimate: float, ends: float
) -> None:
    """Not at its limit, unless that is near; also where the clock has been set back."""
    job = dataclasses.replace(_job("a", 1, estimate), started_at=started, workers=1)
    assert demand.expected_end(job, NOW) == ends


@steady
@given(_hungry, _machines(), st.floats(-GIB, 8 * GIB))
def test_memory_is_never_promised_twice(
    queue: list[Job], machine: tuple[list[Running], int], memory: float
) -> None:
    """What starts fits into what is left, but for a job that has the machine to itself."""
    running, total = machine
    starts = policy.to_start(queue, running, total, NOW, memory=memory)
    taken = sum(demand.expected_memory(job, workers) for job, workers in starts)
    assert not starts or taken <= memory or (len(starts) == 1 and not running)
    assert starts or running or not queue


@steady
@given(_hungry, _machines(), st.floats(-GIB, 8 * GIB))
def test_everybody_starts_some_day_with_little_memory_too(
    queue: list[Job], machine: tuple[list[Running], int], memory: float
) -> None:
    """At the latest when a job is alone."""
    running, total = machine
    starts = policy.forecast(queue, running, total, NOW, memory=memory)
    assert starts.keys() == {job.job_id for job in queue}


def test_a_small_job_goes_ahead_of_one_that_waits_for_memory() -> None:
    """If it ends before the memory for that one is free; the reservation is kept."""
    running = [Running("r", 1, NOW + 30, memory=2 * GIB)]
    big = _job("big", 1, 100.0, estimated_memory_bytes=int(3 * GIB))
    small = _job("small", 1, 20.0, estimated_memory_bytes=int(GIB))
    long = _job("long", 1, 200.0, estimated_memory_bytes=int(GIB))
    light = _job("light", 1, 200.0, estimated_memory_bytes=1)
    starts = policy.to_start([big, long, small, light], running, 4, NOW, memory=GIB + 1)
    assert [job.job_id for job, _ in starts] == ["small", "light"]
