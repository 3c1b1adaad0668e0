"""Which worker of a job runs which test: a scheduler for pytest-xdist.

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
from pytest_valor_schedule.in_job.worker_queue import Work, WorkerQueue, seconds_of
from pytest_valor_schedule.model import work_units
from pytest_valor_schedule.model.run_config import collection_digest
from pytest_valor_schedule.model.work_units import Known, TestOrder, WorkUnit

_QUEUED_SECONDS = 0.15  # of work for each worker: enough to hide the way of a message
_FIRST_GUESS_SECONDS = 0.05
Node = Any  # xdist's WorkerController


class Scheduler:
    """An xdist scheduler (`xdist.scheduler.Scheduling`).

    Args:
        workers: How many workers the run is to have.
        dist: xdist's mode.
        order: Which unit goes first.
        known: Node id to what the history knows.
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
        known: Mapping[str, Known] | None = None,
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
        self._known = known or {}
        self._digest = digest
        self._refuse = refuse
        self._clock = clock
        self._lanes: dict[Node, WorkerQueue] = {}
        self._collected: dict[Node, list[str]] = {}
        self._collection: list[str] | None = None
        self._pending: deque[WorkUnit] = deque()
        self._left = Work()
        self._guess = _FIRST_GUESS_SECONDS  # of a test, where nothing is known
        self._done = 0
        self._starting = set(starting)
        self._coming = self._workers  # that have been started, but are not here yet

    # What xdist asks for.

    @property
    def nodes(self) -> list[Node]:
        """All workers that are there."""
        return list(self._lanes)

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
        return all(len(lane.tests) <= most for lane in self._lanes.values())

    @property
    def has_pending(self) -> bool:
        """Whether anything is left to hand out or to run."""
        return bool(self._pending) or any(lane.tests for lane in self._lanes.values())

    def add_node(self, node: Node) -> None:
        """Take in a worker that has been configured and is about to collect."""
        self._lanes[node] = WorkerQueue()
        self._coming = max(0, self._coming - 1)
        self._wait_no_more_for({node})

    def add_node_collection(self, node: Node, collection: Sequence[str]) -> None:
        """Take in what a worker has collected."""
        self._collected[node] = list(collection)
        if self._collection is None:
            self._adopt(node)
        else:
            self._compare(node)

    def schedule(self) -> None:
        """Hand out work to all who have collected."""
        for node in self._lanes:
            self._refill(node)

    def mark_test_complete(self, node: Node, item_index: int, duration: float = 0) -> None:
        """Note that a worker has finished a test."""
        lane = self._lanes[node]
        lane.finish(item_index)
        lane.since = self._clock()
        self._done += 1
        self._guess += (duration - self._guess) / min(self._done, 50)
        self._refill(node)

    def mark_test_pending(self, item: str) -> None:
        """Hand a test out once more, before all else."""
        assert self._collection is not None
        unit = WorkUnit((self._collection.index(item),), self._guess)
        self._pending.appendleft(unit)
        self._left.add(unit, 1)
        self.schedule()

    def remove_pending_tests_from_node(self, node: Node, indices: Sequence[int]) -> None:
        """Begin without workers that do not start; see `xdist_workers.wake_scheduler`.

        Nothing is ever asked back, for which xdist has this.
        """
        late = set(self._starting)
        self._workers = max(1, self._workers - len(late))
        self._coming = max(0, self._coming - len(late))
        if self._collection is None and self._collected:
            self._adopt(next(iter(self._collected)))
        self._wait_no_more_for(late)

    def remove_node(self, node: Node) -> str | None:
        """Forget a worker and hand out what it has not run; return the test in which it died.

        Raises:
            KeyError: if it died before it was taken in.
        """
        self._wait_no_more_for({node})
        lane = self._lanes.pop(node)
        self._collected.pop(node, None)
        if lane.tests or not node.shutting_down:
            self._coming += 1  # it has died, and xdist replaces it
        if not lane.tests:
            return None
        assert self._collection is not None
        crashed = self._collection[lane.tests[0][0]]
        self._put_back(lane.rest())
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
        found = self._collected[node]
        original = {work_units.without_group(nodeid, self._dist) for nodeid in found}
        if self._digest is None or collection_digest(original) == self._digest:
            self._begin(found)
        elif len(self._collected) >= self._workers:
            self._begin(next(iter(self._collected.values())))

    def _begin(self, collection: list[str]) -> None:
        self._collection = collection
        try:
            found = work_units.cut(collection, self._known, self._dist, self._workers)
            self._put_back(found)
        except Exception as error:  # which would be the end of the whole run
            warning(f"The tests go as they were collected, because: {error!r}")
            self._order, self._left = TestOrder.COLLECTED, Work()
            self._put_back(WorkUnit((index,)) for index in range(len(collection)))
        for node in list(self._collected):
            self._compare(node)

    def _compare(self, node: Node) -> None:
        """Give no work to a worker that has collected something else: it means other tests."""
        found, wanted = self._collected[node], self._collection
        if found == wanted or wanted is None:
            return
        self._lanes[node].refused = True
        only = list(set(found) ^ set(wanted))[:3]
        what = f"for example {', '.join(sorted(only))}" if only else "in another order"
        node.shutdown()
        self._refuse(node, f"This worker collected other tests than the others, {what}.")

    def _put_back(self, rest: Iterable[WorkUnit]) -> None:
        added = list(rest)
        self._pending = deque(work_units.ordered([*self._pending, *added], self._order))
        for unit in added:
            self._left.add(unit, len(unit.indices))

    def _refill(self, node: Node) -> None:
        """Send a worker what it should have by now, in one message."""
        lane = self._lanes[node]
        if self._starting or lane.refused or node not in self._collected or node.shutting_down:
            return
        if not self._wants(lane, _QUEUED_SECONDS / 2):
            return  # as almost always
        share = self._share()
        enough = min(_QUEUED_SECONDS, share / 4)
        if self._wants(lane, enough / 2):
            if sent := self._fill(lane, share, enough):
                node.send_runtest_some(sent)
            if len(lane.tests) == 1:
                node.shutdown()  # it waits for what comes after its last test

    def _fill(self, lane: WorkerQueue, share: float, enough: float) -> list[int]:
        """Give a worker tests until it has enough, and return them."""
        before = len(lane.tests)
        if not lane.tests:
            lane.since = self._clock()
        while self._pending and self._wants(lane, enough) and not self._may_go(lane, share):
            over = (
                lane.tests and self._load(lane) > share and self._order is not TestOrder.COLLECTED
            )
            unit = self._pending.pop() if over else self._pending.popleft()
            self._left.add(unit, -len(unit.indices))
            lane.give(unit)
        return [index for index, _ in list(lane.tests)[before:]]

    def _wants(self, lane: WorkerQueue, enough: float) -> bool:
        return len(lane.tests) < 2 or self._load(lane) < enough

    def _may_go(self, lane: WorkerQueue, share: float) -> bool:
        """Whether a worker has its share in one test, and each that is left can go to another."""
        has_share = len(lane.tests) == 1 and self._load(lane) >= share
        return has_share and len(self._pending) < self._takers()

    def _takers(self) -> int:
        """Return how many workers may take work, now or when they have come."""
        here = [lane.refused or node.shutting_down for node, lane in self._lanes.items()]
        return here.count(False) + self._coming

    def _share(self) -> float:
        """Return how long each worker would still be busy if all work was divided evenly."""
        left = self._left.seconds(self._guess)
        return (left + sum(map(self._load, self._lanes.values()))) / self._workers

    def _load(self, lane: WorkerQueue) -> float:
        """Return how long a worker will be busy with what it has."""
        if not lane.tests:
            return 0.0
        running = seconds_of(lane.tests[0][1], 1)
        begun = min(self._guess if running is None else running, self._clock() - lane.since)
        return lane.work.seconds(self._guess) - begun
