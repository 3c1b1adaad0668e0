"""Schedule the tests of a job onto its workers, as a scheduler of pytest-xdist.

Longest first, in units, to whoever is free. An xdist worker takes a further test before it runs
one, and that cannot be taken back; so one that has its share already gets the shortest. When all
workers have been configured the first begins as soon as it has collected: what another wipes while
it starts is not yet of any test.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pytest_valor_schedule._util.log import warning
from pytest_valor_schedule.in_job.worker_queue import WorkerQueue, Workload, seconds_of
from pytest_valor_schedule.model import work_units
from pytest_valor_schedule.model.run_config import collection_digest
from pytest_valor_schedule.model.work_units import PastRun, TestOrder, WorkUnit

_QUEUED_SECONDS = 0.15  # of work for each worker: enough to hide the way of a message
_FIRST_GUESS_SECONDS = 0.05
Node = Any  # xdist's WorkerController


class Scheduler:
    """Implements `xdist.scheduler.Scheduling`.

    Args:
        workers: How many workers the run is to have.
        dist: xdist's mode.
        order: Which unit goes first.
        durations: Node id to what the history has of it.
        digest: `collection_digest` of the tests that the run is for.
        starting: The workers that the run began to start; those that replace them are not waited
            for.
        refuse: Gets a worker that collected something else, and a text that says so.
        clock: The monotonic clock.
        config: pytest's, which other plugins look for in a scheduler.
    """

    def __init__(
        self,
        *,
        workers: int,
        dist: str = "load",
        order: TestOrder = TestOrder.LONGEST,
        durations: Mapping[str, PastRun] | None = None,
        digest: str | None = None,
        starting: Iterable[Node] = (),
        refuse: Callable[[Node, str], None] = lambda node, text: None,
        clock: Callable[[], float] = time.monotonic,
        config: Any = None,
    ) -> None:
        self.config = config
        self._workers = max(1, workers)
        self._dist = dist
        self._order = order
        self._durations = durations or {}
        self._digest = digest
        self._refuse = refuse
        self._clock = clock
        self._queues: dict[Node, WorkerQueue] = {}
        self._collections: dict[Node, list[str]] = {}
        self._collection: list[str] | None = None
        self._pending: deque[WorkUnit] = deque()
        self._pending_work = Workload()
        self._guess = _FIRST_GUESS_SECONDS  # of a test that the history has not
        self._done = 0
        self._starting = set(starting)
        self._coming = self._workers  # that have been started, but are not here yet

    # What xdist asks for.

    @property
    def nodes(self) -> list[Node]:
        """All workers that are there."""
        return list(self._queues)

    @property
    def collection_is_completed(self) -> bool:
        """Whether work can be handed out."""
        return self._collection is not None

    @property
    def tests_finished(self) -> bool:
        """Whether nothing is left to hand out, and every worker is at its last test at most."""
        if self._collection is None:
            return False
        if self._pending and self._takers():
            return False
        # With nobody to take what is left the run is over; the runner will see what is missing.
        most = 0 if self._pending else 1
        return all(len(queue.tests) <= most for queue in self._queues.values())

    @property
    def has_pending(self) -> bool:
        """Whether anything is left to hand out or to run."""
        return bool(self._pending) or any(queue.tests for queue in self._queues.values())

    def add_node(self, node: Node) -> None:
        """Take in a worker that has been configured and is about to collect."""
        self._queues[node] = WorkerQueue()
        self._coming = max(0, self._coming - 1)
        self._wait_no_more_for({node})

    def add_node_collection(self, node: Node, collection: Sequence[str]) -> None:
        """Take in what a worker has collected."""
        self._collections[node] = list(collection)
        if self._collection is None:
            self._adopt(node)
        else:
            self._compare(node)

    def schedule(self) -> None:
        """Hand out work to all who have collected."""
        for node in self._queues:
            self._refill(node)

    def mark_test_complete(self, node: Node, item_index: int, duration: float = 0) -> None:
        """Note that a worker has finished a test."""
        queue = self._queues[node]
        queue.finish(item_index)
        queue.started_at = self._clock()
        self._done += 1
        self._guess += (duration - self._guess) / min(self._done, 50)
        self._refill(node)

    def mark_test_pending(self, item: str) -> None:
        """Hand a test out once more, before all else."""
        assert self._collection is not None
        unit = WorkUnit((self._collection.index(item),), self._guess)
        self._pending.appendleft(unit)
        self._pending_work.add(unit, 1)
        self.schedule()

    def remove_pending_tests_from_node(self, node: Node, indices: Sequence[int]) -> None:
        """Begin without workers that do not start; see `xdist_workers.wake_scheduler`.

        Nothing is ever asked back, for which xdist has this.
        """
        late = set(self._starting)
        self._workers = max(1, self._workers - len(late))
        self._coming = max(0, self._coming - len(late))
        if self._collection is None and self._collections:
            self._adopt(next(iter(self._collections)))
        self._wait_no_more_for(late)

    def remove_node(self, node: Node) -> str | None:
        """Forget a worker and hand out what it has not run; return the test in which it died.

        Raises:
            KeyError: if it died before it was taken in.
        """
        self._wait_no_more_for({node})
        queue = self._queues.pop(node)
        self._collections.pop(node, None)
        if queue.tests or not node.shutting_down:
            self._coming += 1  # it has died, and xdist replaces it
        if not queue.tests:
            return None
        assert self._collection is not None
        crashed = self._collection[queue.tests[0][0]]
        self._add(queue.rest())
        self.schedule()
        return crashed

    # How it decides.

    def _wait_no_more_for(self, nodes: set[Node]) -> None:
        """Note that these workers have started, or never will; after the last of all, begin."""
        if self._starting:
            self._starting -= nodes
            if not self._starting:
                self.schedule()

    def _adopt(self, node: Node) -> None:
        """Take a worker's collection for that of the run, if it is the right one, or all are in."""
        collection = self._collections[node]
        original = {work_units.without_group(nodeid, self._dist) for nodeid in collection}
        if self._digest is None or collection_digest(original) == self._digest:
            self._begin(collection)
        elif len(self._collections) >= self._workers:
            self._begin(next(iter(self._collections.values())))

    def _begin(self, collection: list[str]) -> None:
        self._collection = collection
        try:
            self._add(work_units.make_units(collection, self._durations, self._dist, self._workers))
        except Exception as error:  # which would be the end of the whole run
            warning(f"The tests go as they were collected, because: {error!r}")
            self._order, self._pending_work = TestOrder.COLLECTED, Workload()
            self._add(WorkUnit((index,)) for index in range(len(collection)))
        for node in list(self._collections):
            self._compare(node)

    def _compare(self, node: Node) -> None:
        """Give no work to a worker that has collected something else: it means other tests."""
        collection, expected = self._collections[node], self._collection
        if collection == expected or expected is None:
            return
        self._queues[node].refused = True
        difference = list(set(collection) ^ set(expected))[:3]
        what = f"for example {', '.join(sorted(difference))}" if difference else "in another order"
        node.shutdown()
        self._refuse(node, f"This worker collected other tests than the others, {what}.")

    def _add(self, units: Iterable[WorkUnit]) -> None:
        new_units = list(units)
        self._pending = deque(work_units.sort_units([*self._pending, *new_units], self._order))
        for unit in new_units:
            self._pending_work.add(unit, len(unit.indices))

    def _refill(self, node: Node) -> None:
        """Send a worker what it should have by now, in one message."""
        queue = self._queues[node]
        if self._starting or queue.refused or node not in self._collections or node.shutting_down:
            return
        if not self._wants(queue, _QUEUED_SECONDS / 2):
            return  # as almost always
        share = self._share()
        enough = min(_QUEUED_SECONDS, share / 4)
        if self._wants(queue, enough / 2):
            if indices := self._fill(queue, share, enough):
                node.send_runtest_some(indices)
            if len(queue.tests) == 1:
                node.shutdown()  # it waits for what comes after its last test

    def _fill(self, queue: WorkerQueue, share: float, enough: float) -> list[int]:
        """Give a worker tests until it has enough, and return them."""
        before = len(queue.tests)
        if not queue.tests:
            queue.started_at = self._clock()
        while self._pending and self._wants(queue, enough) and not self._may_go(queue, share):
            is_over = queue.tests and self._load(queue) > share
            takes_shortest = is_over and self._order is not TestOrder.COLLECTED
            unit = self._pending.pop() if takes_shortest else self._pending.popleft()
            self._pending_work.add(unit, -len(unit.indices))
            queue.add(unit)
        return [index for index, _ in list(queue.tests)[before:]]

    def _wants(self, queue: WorkerQueue, enough: float) -> bool:
        return len(queue.tests) < 2 or self._load(queue) < enough

    def _may_go(self, queue: WorkerQueue, share: float) -> bool:
        """Return whether a worker has its share in one test, and others can take the rest."""
        has_share = len(queue.tests) == 1 and self._load(queue) >= share
        return has_share and len(self._pending) < self._takers()

    def _takers(self) -> int:
        """Return how many workers may take work, now or when they have come."""
        here = [queue.refused or node.shutting_down for node, queue in self._queues.items()]
        return here.count(False) + self._coming

    def _share(self) -> float:
        """Return how long each worker would still be busy if all work was divided evenly."""
        pending = self._pending_work.seconds(self._guess)
        return (pending + sum(map(self._load, self._queues.values()))) / self._workers

    def _load(self, queue: WorkerQueue) -> float:
        """Return how long a worker will be busy with what it has."""
        if not queue.tests:
            return 0.0
        running = seconds_of(queue.tests[0][1], 1)
        elapsed = self._clock() - queue.started_at
        progress = min(self._guess if running is None else running, elapsed)
        return queue.workload.seconds(self._guess) - progress
