"""Compare how long jobs wait under the policy with simpler ones, on a generated trace.

`python -m tests.tools.simulate [JOBS] [SEED] [SLOTS]`: jobs arrive at random (Poisson), their
lengths are lognormal, their sizes and priorities as on a machine that people and agents share, and
estimates are wrong by a lognormal factor. Prints the mean and the 95th percentile of the wait in
seconds, and once more for the policy alone where some of the jobs have no history: by what the
queue reckons with for those. Jobs that run are expected to end by their pace.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import Priority
from pytest_valor_schedule.queue import demand, policy
from pytest_valor_schedule.queue.demand import Running, Work
from pytest_valor_schedule.queue.policy import Start
from tests.support.jobs import a_job

LOAD = 0.85  # of the slots, on average
TESTS = 1000  # of a job
UNKNOWN, MISS = 0.4, 1.5  # share of the jobs without history, and how wrong a guess of those is
LIMIT = 600.0  # of a job, in seconds
Decide = Callable[[Sequence[Job], Sequence[Running], int, float], list[Start]]


@dataclass(frozen=True)
class Arrival:
    """A job of the trace, with how long it really takes with the workers that it wants."""

    job: Job
    seconds: float


def trace(count: int, seed: int, slots: int) -> list[Arrival]:
    """Return jobs in the order of their arrival."""
    dice = random.Random(seed)
    drawn = [
        (min(dice.choice((1, 1, 2, 2, 2, 4)), slots), dice.lognormvariate(2.5, 1.2))
        for _ in range(count)
    ]
    work = statistics.fmean(workers * seconds for workers, seconds in drawn)
    now, arrivals = 0.0, []
    for number, (workers, seconds) in enumerate(drawn):
        now += dice.expovariate(slots * LOAD / work)
        job = a_job(
            job_id=f"{number:05}",
            created_at=now,
            max_workers=workers,
            test_count=TESTS,
            priority=dice.choices(list(Priority), weights=(3, 5, 2))[0],
            estimated_seconds=seconds * dice.lognormvariate(0, 0.3),
        )
        arrivals.append(Arrival(job, seconds))
    return arrivals


GUESSES: dict[str, Callable[[float, float], float]] = {
    "unknown: the length itself": lambda seconds, guess: seconds,
    "unknown: a guess": lambda seconds, guess: guess,
    "unknown: the upper end of one": lambda seconds, guess: guess * math.exp(1.28 * MISS),
    "unknown: a short time": lambda seconds, guess: 10.0,
    "unknown: the time limit": lambda seconds, guess: LIMIT,
}


def without_history(
    arrivals: Sequence[Arrival], seed: int, reckon: Callable[[float, float], float]
) -> list[Arrival]:
    """Return the trace with some jobs of which nothing is known but a guess."""
    dice, found = random.Random(seed), list[Arrival]()
    for each in arrivals:
        unknown = dice.random() < UNKNOWN
        seconds = min(LIMIT, reckon(each.seconds, each.seconds * dice.lognormvariate(0, MISS)))
        job = replace(each.job, estimated_seconds=seconds, estimated_from_runs=0)
        found.append(replace(each, job=job) if unknown else each)
    return found


_KNOWN = Work.of(map(str, range(TESTS)), {str(n): 1.0 for n in range(TESTS)}, 1.0)
_UNKNOWN = Work.of(map(str, range(TESTS)), {}, 1.0)


def progress_of(job: Job, seconds: float, now: float) -> dict[str, Any]:
    """Return what the runner of a job would say, all of whose tests take the same."""
    elapsed = now - (job.started_at or now)
    finished = min(TESTS, int(TESTS * elapsed / seconds))
    each = job.estimated_seconds * job.worker_demand / TESTS
    work = _KNOWN if job.has_history else _UNKNOWN
    slowness = work.slowness(finished, elapsed * (job.workers or 1) / each)
    return {"finished": finished, "queued_seconds": each * (TESTS - finished) * slowness}


def in_strict_order(order: Callable[[Sequence[Job]], list[Job]]) -> Decide:
    """Return a policy without backfill: nobody starts before the first in line."""

    def decide(
        queued: Sequence[Job], running: Sequence[Running], total: int, now: float
    ) -> list[Start]:
        free, starts = total - sum(each.slots for each in running), []
        for job in order(queued):
            workers = demand.needs(job, total)
            if workers > free:
                break
            free -= workers
            starts.append(Start(job, workers))
        return starts

    return decide


POLICIES: dict[str, Decide] = {
    "first in, first out": in_strict_order(list),
    "priority, no backfill": in_strict_order(policy.in_order),
    "priority and backfill": policy.to_start,
}


def waits(arrivals: Sequence[Arrival], slots: int, decide: Decide) -> dict[str, float]:
    """Play the trace and return how long each job waited, in seconds, by its id."""
    really = {each.job.job_id: each.seconds for each in arrivals}
    coming, queued = list(arrivals), list[Job]()
    running: dict[str, Job] = {}
    lasts: dict[str, float] = {}
    ends: list[tuple[float, str]] = []
    waited: dict[str, float] = {}
    now = 0.0
    while coming or queued or ends:
        now = min([each.job.created_at for each in coming[:1]] + [end for end, _ in ends[:1]])
        while ends and ends[0][0] <= now:
            del running[heapq.heappop(ends)[1]]
        while coming and coming[0].job.created_at <= now:
            queued.append(coming.pop(0).job)
        occupied = [
            demand.while_running(job, now, progress_of(job, lasts[job.job_id], now))
            for job in running.values()
        ]
        for job, workers in decide(queued, occupied, slots, now):
            queued.remove(job)
            waited[job.job_id] = now - job.created_at
            running[job.job_id] = replace(job, started_at=now, workers=workers)
            lasts[job.job_id] = really[job.job_id] * demand.needs(job, slots) / workers
            heapq.heappush(ends, (now + lasts[job.job_id], job.job_id))
    return waited


def row(name: str, arrivals: Sequence[Arrival], waited: Mapping[str, float]) -> str:
    """Return a line of the table."""
    cells = []
    for wanted in (*Priority, None):
        found = [waited[a.job.job_id] for a in arrivals if wanted in (None, a.job.priority)]
        tail = statistics.quantiles(found, n=20)[-1]
        cells.append(f"{statistics.fmean(found):8.1f} /{tail:8.1f}")
    return f"{name:30}" + "".join(cells)


def main() -> None:
    """Print the table."""
    count, seed, slots = (
        int(text) for text in (sys.argv[1:] + ["2000", "1", "4"][len(sys.argv) - 1 :])
    )
    arrivals = trace(count, seed, slots)
    print(f"{count} jobs, seed {seed}, {slots} slots, load {LOAD:.0%}; wait in s: mean / 95 %")
    print(f"{'':30}" + "".join(f"{priority:>18}" for priority in (*Priority, "all")))
    for name, decide in POLICIES.items():
        print(row(name, arrivals, waits(arrivals, slots, decide)))
    for name, reckon in GUESSES.items():
        changed = without_history(arrivals, seed, reckon)
        print(row(name, changed, waits(changed, slots, policy.to_start)))


if __name__ == "__main__":
    main()
