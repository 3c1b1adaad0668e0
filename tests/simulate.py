"""Compare how long jobs wait under the policy with simpler ones, on a generated trace.

`python tests/simulate.py [JOBS] [SEED] [SLOTS]`: jobs arrive at random (Poisson), their lengths are
lognormal, their sizes and priorities as on a machine that people and agents share, and estimates
are wrong by a lognormal factor. Prints the mean and the 95th percentile of the wait in seconds.
"""

from __future__ import annotations

import heapq
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from jobs import a_job

from pytest_valor_schedule import policy
from pytest_valor_schedule.job import Job, Priority
from pytest_valor_schedule.policy import Running, Start

LOAD = 0.85  # of the slots, on average
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
            test_count=1000,
            priority=dice.choices(list(Priority), weights=(3, 5, 2))[0],
            estimated_seconds=seconds * dice.lognormvariate(0, 0.3),
        )
        arrivals.append(Arrival(job, seconds))
    return arrivals


def in_strict_order(order: Callable[[Sequence[Job]], list[Job]]) -> Decide:
    """Return a policy without backfill: nobody starts before the first in line."""

    def decide(
        queued: Sequence[Job], running: Sequence[Running], total: int, now: float
    ) -> list[Start]:
        free, starts = total - sum(each.slots for each in running), []
        for job in order(queued):
            workers = policy.needs(job, total)
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
    ends: list[tuple[float, str]] = []
    waited: dict[str, float] = {}
    now = 0.0
    while coming or queued or ends:
        now = min([each.job.created_at for each in coming[:1]] + [end for end, _ in ends[:1]])
        while ends and ends[0][0] <= now:
            del running[heapq.heappop(ends)[1]]
        while coming and coming[0].job.created_at <= now:
            queued.append(coming.pop(0).job)
        for job, workers in decide(queued, policy.occupied(running.values(), now), slots, now):
            queued.remove(job)
            waited[job.job_id] = now - job.created_at
            running[job.job_id] = replace(job, started_at=now, workers=workers)
            seconds = really[job.job_id] * policy.needs(job, slots) / workers
            heapq.heappush(ends, (now + seconds, job.job_id))
    return waited


def main() -> None:
    """Print the table."""
    count, seed, slots = (
        int(text) for text in (sys.argv[1:] + ["2000", "1", "4"][len(sys.argv) - 1 :])
    )
    arrivals = trace(count, seed, slots)
    print(f"{count} jobs, seed {seed}, {slots} slots, load {LOAD:.0%}; wait in s: mean / 95 %")
    print(f"{'':24}" + "".join(f"{priority:>18}" for priority in (*Priority, "all")))
    for name, decide in POLICIES.items():
        waited = waits(arrivals, slots, decide)
        cells = []
        for wanted in (*Priority, None):
            found = [waited[a.job.job_id] for a in arrivals if wanted in (None, a.job.priority)]
            tail = statistics.quantiles(found, n=20)[-1]
            cells.append(f"{statistics.fmean(found):8.1f} /{tail:8.1f}")
        print(f"{name:24}" + "".join(cells))


if __name__ == "__main__":
    main()
