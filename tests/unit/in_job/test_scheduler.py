"""The scheduler that hands a job's tests out to its workers."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pytest_valor_schedule.in_job.scheduler import Scheduler
from pytest_valor_schedule.model import work_units
from pytest_valor_schedule.model.run_config import collection_digest
from pytest_valor_schedule.model.work_units import PastRun, TestOrder, WorkUnit


class MockNode:
    """A worker as the scheduler sees it, which runs tests as an xdist worker does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.queue: deque[int | None] = deque()  # None: the end
        self.running: int | None = None
        self.ended = False
        self.shutting_down = False
        self.messages = 0

    def __repr__(self) -> str:
        return self.name

    def send_runtest_some(self, indices: list[int]) -> None:
        assert not self.shutting_down, "work for a worker that was told to end"
        self.messages += 1
        self.queue.extend(indices)

    def shutdown(self) -> None:
        self.shutting_down = True
        self.queue.append(None)

    def begin(self) -> int | None:
        """Take the next test, as soon as it is known what comes after it."""
        if self.running is None and not self.ended and len(self.queue) > 1:
            self.running = self.queue.popleft()
        if self.running is None and self.queue and self.queue[0] is None:
            self.ended = True
        return self.running


@dataclasses.dataclass
class Clock:
    """A monotonic clock that is set."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def play(
    seconds: list[float],
    workers: int,
    *,
    known: bool = True,
    order: TestOrder = TestOrder.LONGEST,
    ready: float = 0.0,
) -> tuple[float, list[list[int]]]:
    """Run tests of these lengths; each worker has collected so much later than the one before it.

    Returns:
        When the last test has ended, and which tests each worker ran in which order.
    """
    clock = Clock()
    ids = [f"test_{n % 3}.py::test_{n}" for n in range(len(seconds))]
    history = {i: PastRun(s, failed=False) for i, s in zip(ids, seconds, strict=True)}
    nodes = [MockNode(f"gw{n}") for n in range(workers)]
    scheduler = Scheduler(
        workers=workers,
        durations=history if known else {},
        order=order,
        digest=collection_digest(ids),
        starting=nodes,
        clock=clock,
    )
    ran: list[list[int]] = [[] for _ in nodes]
    events: list[tuple[float, int]] = [(ready * number, number) for number in range(workers)]
    last = 0.0
    for node in nodes:
        scheduler.add_node(node)
    while events:
        events.sort()
        clock.now, number = events.pop(0)
        node = nodes[number]
        if node.running is None:
            scheduler.add_node_collection(node, ids)
            if scheduler.collection_is_completed:
                scheduler.schedule()
        else:
            finished, node.running = node.running, None
            ran[number].append(finished)
            last = clock.now
            scheduler.mark_test_complete(node, finished, seconds[finished])
        for other, each in enumerate(nodes):
            if each.running is None and each.begin() is not None:
                assert each.running is not None
                events.append((clock.now + seconds[each.running], other))
    assert scheduler.tests_finished
    assert sorted(itertools.chain(*ran)) == list(range(len(seconds)))
    return last, ran


def test_the_longest_goes_first() -> None:
    """The long test that is collected last does not make everybody wait for it."""
    seconds = [0.05] * 200 + [5.0]
    makespan, ran = play(seconds, 2)
    assert makespan <= 1.02 * sum(seconds) / 2
    assert 200 in (ran[0][0], ran[1][0])
    makespan, _ = play(seconds, 4)
    assert makespan <= 1.02 * 5.0


def test_the_worker_with_the_long_test_gets_little_besides() -> None:
    """What it must take before it runs the long one, nobody else can run."""
    _, ran = play([0.5] * 12 + [0.1] + [5.0], 4)
    [long_lane] = [lane for lane in ran if 13 in lane]
    assert long_lane == [13, 12]


def test_few_tests_are_spread() -> None:
    """Two tests on two workers run side by side, though the first worker is ready alone."""
    assert play([1.0, 1.0], 2, ready=0.3)[0] == pytest.approx(1.3)
    assert play([1.0, 1.0, 1.0, 1.0], 4, ready=0.1)[0] == pytest.approx(1.3)


def _begin(workers: int, tests: int) -> tuple[Scheduler, list[MockNode]]:
    """Return the scheduler of a run whose first worker alone is ready and has collected."""
    nodes = [MockNode(f"gw{n}") for n in range(workers)]
    scheduler = Scheduler(workers=workers, starting=nodes)
    scheduler.add_node(nodes[0])
    scheduler.add_node_collection(nodes[0], [f"a.py::{n}" for n in range(tests)])
    scheduler.schedule()
    assert scheduler.has_pending
    assert not scheduler.tests_finished
    assert not nodes[0].queue
    return scheduler, nodes


def _run_all(scheduler: Scheduler, node: MockNode) -> int:
    """Let a worker run what it gets and return how many tests that were."""
    count = 0
    while (index := node.begin()) is not None:
        node.running = None
        scheduler.mark_test_complete(node, index, 0.01)
        count += 1
    return count


def test_no_test_runs_before_all_workers_are_ready() -> None:
    """What a worker wipes while it starts is of no test; one that has not yet collected may."""
    scheduler, nodes = _begin(3, tests=9)
    scheduler.add_node(nodes[2])
    assert not nodes[0].queue
    scheduler.add_node(nodes[1])
    assert len(nodes[0].queue) > 1
    assert not nodes[1].queue


def test_a_worker_that_dies_while_it_starts_is_waited_for_no_more() -> None:
    """Nor is the one that replaces it, before or after the others are ready."""
    scheduler, nodes = _begin(3, tests=9)
    with pytest.raises(KeyError):  # which xdist expects
        scheduler.remove_node(nodes[1])
    scheduler.add_node(MockNode("gw3"))
    assert not nodes[0].queue
    with pytest.raises(KeyError):
        scheduler.remove_node(nodes[2])
    assert len(nodes[0].queue) > 1


@pytest.mark.parametrize("tests", [1, 2, 9])
def test_workers_that_do_not_start_are_not_waited_for_for_ever(tests: int) -> None:
    """The others run all, and leave no test to those that may never come."""
    scheduler, nodes = _begin(3, tests)
    scheduler.remove_pending_tests_from_node(None, ())
    assert _run_all(scheduler, nodes[0]) == tests
    assert scheduler.tests_finished
    scheduler.add_node(nodes[1])  # at last
    scheduler.add_node_collection(nodes[1], [f"a.py::{n}" for n in range(tests)])
    assert scheduler.tests_finished


def test_they_are_not_waited_for_to_agree_on_the_tests_either() -> None:
    """What those have collected counts that have started, if nobody has what was scheduled."""
    nodes = [MockNode(f"gw{n}") for n in range(3)]
    scheduler = Scheduler(workers=3, starting=nodes, digest=collection_digest(["gone"]))
    for node in nodes[:2]:
        scheduler.add_node(node)
        scheduler.add_node_collection(node, ["a", "b", "c"])
    assert not scheduler.collection_is_completed
    scheduler.remove_pending_tests_from_node(None, ())
    assert [bool(node.queue) for node in nodes] == [True, True, False]


def test_nobody_waits_where_nothing_is_to_be_run() -> None:
    """Also while workers start."""
    scheduler = Scheduler(workers=2, starting=[MockNode("gw0"), node := MockNode("gw1")])
    scheduler.add_node(node)
    scheduler.add_node_collection(node, [])
    assert scheduler.tests_finished


def test_the_first_worker_does_not_wait_for_the_others_to_collect() -> None:
    """It begins at once, and who comes late gets less."""
    makespan, ran = play([0.1] * 40, 2, ready=1.0)
    assert makespan <= 2.5 + 0.2
    assert len(ran[0]) > len(ran[1]) + 5


@pytest.mark.parametrize("known", [True, False])
def test_many_short_tests_take_few_messages(known: bool) -> None:
    """A refill is one message with enough work to hide its way."""
    clock = Clock()
    ids = [f"test_a.py::test_{n}" for n in range(3000)]
    history = {each: PastRun(0.0002, failed=False) for each in ids} if known else {}
    scheduler = Scheduler(workers=1, durations=history, clock=clock)
    node = MockNode("gw0")
    scheduler.add_node(node)
    scheduler.add_node_collection(node, ids)
    scheduler.schedule()
    while (index := node.begin()) is not None:
        clock.now += 0.0002
        node.running = None
        scheduler.mark_test_complete(node, index, 0.0002)
    assert scheduler.tests_finished
    assert node.messages < 120


@pytest.mark.parametrize("seconds", [0.1, 0.0])
def test_without_history_tests_go_as_collected(seconds: float) -> None:
    """Nothing better is known, and neighbours share fixtures."""
    _, [ran] = play([seconds] * 40, 1, known=False)
    assert ran == list(range(40))


def test_tests_can_go_as_collected_though_more_is_known() -> None:
    """If the project says so."""
    _, [ran] = play([float(n) for n in range(1, 9)], 1, order=TestOrder.COLLECTED)
    assert ran == list(range(8))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("seconds", [[0.0] * 40, [0.1, 0.2, 0.7] * 9, [9.0, *[0.01] * 20]])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_each_worker_keeps_the_order_of_collection(
    seconds: list[float], workers: int, known: bool
) -> None:
    """If the project says so, no worker is ever given a test before one that comes before it."""
    _, ran = play(seconds, workers, known=known, order=TestOrder.COLLECTED)
    assert sorted(itertools.chain(*ran)) == list(range(len(seconds)))
    for each in ran:
        assert each == sorted(each)


def test_what_failed_goes_first() -> None:
    """If the project says so, and else among tests of about its length."""
    found = [
        WorkUnit((0,), 8.0),
        WorkUnit((1,), 1.0, True),
        WorkUnit((2,), 1.1),
        WorkUnit((3,), 0.1, True),
    ]
    by_failure = [unit.indices[0] for unit in work_units.sort_units(found, TestOrder.FAILED_FIRST)]
    assert by_failure == [1, 3, 0, 2]
    by_length = [unit.indices[0] for unit in work_units.sort_units(found, TestOrder.LONGEST)]
    assert by_length == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("dist", "parts"),
    [
        ("loadfile", [(0, 1, 3), (2, 4)]),
        ("loadscope", [(0,), (1, 3), (2, 4)]),
        ("loadgroup", [(0,), (1, 4), (2,), (3,)]),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_modes_of_xdist_keep_tests_together(
    dist: str, parts: list[tuple[int, ...]], known: bool
) -> None:
    """A file, a class or module, or a group, is one unit."""
    ids = ["a.py::t", "a.py::C::t@g", "b.py::t[x@y]", "a.py::C::u", "b.py::u@g"]
    history = {"b.py::t[x@y]": PastRun(1.0, failed=True)} if known else {}
    found = work_units.make_units(ids, history, dist, 2)
    assert sorted(unit.indices for unit in found) == parts
    assert [unit.failed for unit in found].count(True) == known


def test_short_neighbours_stay_together() -> None:
    """So that the fixtures of their file are not made anew for each."""
    ids = [f"{name}.py::test_{n}" for name in "ab" for n in range(50)]
    history = dict.fromkeys(ids, PastRun(0.01, failed=False))
    found = work_units.make_units(ids, history, "load", 2)
    assert all(len({ids[i][0] for i in unit.indices}) == 1 for unit in found)
    assert len(found) <= 20


def test_an_unknown_test_counts_as_a_slow_one() -> None:
    """The 90th percentile of the known ones."""
    assert work_units.fill_unknown([None, 1.0, 2.0], 7.0) == [1.0, 1.0, 2.0]
    assert work_units.fill_unknown([None, *map(float, range(11))], 7.0)[0] == 9.0
    assert work_units.fill_unknown([None], 7.0) == [7.0]


def _note(told: list[tuple[str, str]], node: MockNode, text: str) -> None:
    told.append((node.name, text))


def test_a_worker_with_another_collection_gets_no_work() -> None:
    """It is reported, whether it comes first or last, and the others run everything."""
    ids = ["a.py::1", "a.py::2", "a.py::3"]
    for wrong in (0, 1):
        refused: list[tuple[str, str]] = []
        scheduler = Scheduler(
            workers=2,
            digest=collection_digest(ids),
            refuse=functools.partial(_note, refused),
        )
        nodes = [MockNode("gw0"), MockNode("gw1")]
        for node in nodes:
            scheduler.add_node(node)
        for number, node in enumerate(nodes):
            scheduler.add_node_collection(node, ids[:2] if number == wrong else ids)
            if scheduler.collection_is_completed:
                scheduler.schedule()
        assert refused == [(f"gw{wrong}", refused[0][1])]
        assert "for example a.py::3" in refused[0][1]
        assert list(nodes[wrong].queue) == [None]
        assert list(nodes[1 - wrong].queue)[:2] == [0, 1]


def test_when_nobody_has_the_expected_collection_the_first_counts() -> None:
    """Files have changed since the run was scheduled; the runner will see what is missing."""
    scheduler = Scheduler(workers=2, digest=collection_digest(["gone"]))
    nodes = [MockNode("gw0"), MockNode("gw1")]
    for node in nodes:
        scheduler.add_node(node)
    scheduler.add_node_collection(nodes[0], ["a", "b"])
    assert not scheduler.collection_is_completed
    scheduler.add_node_collection(nodes[1], ["a", "b"])
    assert scheduler.collection_is_completed


def test_groups_do_not_hide_what_is_known() -> None:
    """The ids to which xdist appends a group are still those of the run."""
    ids = ["a.py::one", "a.py::two"]
    scheduler = Scheduler(workers=2, dist="loadgroup", digest=collection_digest(ids))
    node = MockNode("gw0")
    scheduler.add_node(node)
    scheduler.add_node_collection(node, ["a.py::one@slow", "a.py::two"])
    assert scheduler.collection_is_completed
    found = work_units.make_units(
        ["a.py::one@slow"], {ids[0]: PastRun(3.0, failed=True)}, "loadgroup", 2
    )
    assert found == [WorkUnit((0,), 3.0, failed=True)]
    assert work_units.without_group("a.py::one@slow", "load") == "a.py::one@slow"


def test_a_fault_of_ours_falls_back_to_the_order_of_collection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An exception in a scheduler would be the end of the whole run."""
    monkeypatch.setattr(work_units, "make_units", lambda *arguments: 1 / 0)
    _, [ran] = play([float(n) for n in range(1, 9)], 1)
    assert ran == list(range(8))


def test_what_nobody_can_take_ends_the_run() -> None:
    """If the only worker left has another collection, the runner sees to the rest."""
    scheduler = Scheduler(workers=1)
    nodes = [MockNode("gw0"), MockNode("gw1")]
    scheduler.add_node(nodes[0])
    scheduler.add_node_collection(nodes[0], ["a", "b", "c"])
    scheduler.schedule()
    assert scheduler.remove_node(nodes[0]) == "a"
    assert not scheduler.tests_finished  # the replacement is on its way
    scheduler.add_node(nodes[1])
    assert not scheduler.tests_finished
    scheduler.add_node_collection(nodes[1], ["a", "b"])
    scheduler.schedule()
    assert scheduler.tests_finished


def test_an_empty_collection_is_finished() -> None:
    """Nothing to run is no reason to wait."""
    scheduler = Scheduler(workers=1)
    node = MockNode("gw0")
    scheduler.add_node(node)
    scheduler.add_node_collection(node, [])
    scheduler.schedule()
    assert scheduler.tests_finished
    assert not scheduler.has_pending


class Run(RuleBasedStateMachine):
    """Workers start, collect, run tests and die in any order."""

    @initialize(
        tests=st.integers(0, 25),
        workers=st.integers(1, 4),
        dist=st.sampled_from(["load", "loadfile", "loadscope", "loadgroup"]),
        order=st.sampled_from(TestOrder),
        share=st.floats(0, 1),
    )
    def start(self, tests: int, workers: int, dist: str, order: TestOrder, share: float) -> None:
        self.ids = [f"test_{n % 3}.py::C{n % 2}::t{n}" for n in range(tests)]
        known = self.ids[: int(tests * share)]
        self.clock = Clock()
        self.coming = [MockNode(f"gw{n}") for n in range(workers)]
        self.starting = list(self.coming)  # of those that are waited for
        self.scheduler = Scheduler(
            workers=workers,
            starting=self.starting,
            dist=dist,
            order=order,
            durations={
                each: PastRun(0.1 * n % 0.7, failed=n % 4 == 0) for n, each in enumerate(known)
            },
            digest=collection_digest(self.ids),
            clock=self.clock,
        )
        self.hanging: list[MockNode] = []
        self.collecting: list[MockNode] = []
        self.working: list[MockNode] = []
        self.ran: list[int] = []
        self.crashed: list[str] = []
        self.died_early: list[MockNode] = []
        self.names = itertools.count(workers)

    @precondition(lambda self: self.coming)
    @rule()
    def come(self) -> None:
        node = self.coming.pop(0)
        self._note_start(node)
        self.scheduler.add_node(node)
        self.collecting.append(node)
        self._begin()

    def _note_start(self, node: MockNode) -> None:
        self.starting = [each for each in self.starting if each is not node]

    @precondition(lambda self: self.coming and len(self.died_early) < 4)
    @rule(data=st.data())
    def die_while_starting(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(self.coming))
        self.coming.remove(node)
        self.died_early.append(node)
        self._note_start(node)
        with pytest.raises(KeyError):
            self.scheduler.remove_node(node)
        self._replace()

    @precondition(lambda self: len(self.starting) > 1)
    @rule()
    def hang_while_starting(self) -> None:
        """Those that are still starting never end, but for the first; it waits no more."""
        self.hanging += [each for each in self.starting[1:] if each in self.coming]
        self.coming = [each for each in self.coming if each not in self.hanging]
        self.starting = []
        self.scheduler.remove_pending_tests_from_node(None, ())
        self._begin()

    def _replace(self) -> None:
        self.coming.append(MockNode(f"gw{next(self.names)}"))
        self._begin()

    @precondition(lambda self: self.collecting)
    @rule(data=st.data())
    def collect(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(self.collecting))
        self.collecting.remove(node)
        self.working.append(node)
        self.scheduler.add_node_collection(node, list(self.ids))
        if self.scheduler.collection_is_completed:
            self.scheduler.schedule()
        self._begin()

    @precondition(lambda self: any(node.running is not None for node in self.working))
    @rule(data=st.data(), seconds=st.floats(0, 2))
    def finish(self, data: st.DataObject, seconds: float) -> None:
        busy = [node for node in self.working if node.running is not None]
        node = data.draw(st.sampled_from(busy))
        self._finish(node, seconds)

    def _finish(self, node: MockNode, seconds: float) -> None:
        index, node.running = node.running, None
        assert index is not None
        self.ran.append(index)
        self.clock.now += seconds
        self.scheduler.mark_test_complete(node, index, seconds)
        self._begin()

    @precondition(lambda self: self.working + self.collecting and len(self.crashed) < 6)
    @rule(data=st.data(), again=st.booleans())
    def crash(self, data: st.DataObject, again: bool) -> None:
        node = data.draw(st.sampled_from(self.working + self.collecting))
        (self.working if node in self.working else self.collecting).remove(node)
        died_in = self.scheduler.remove_node(node)
        if died_in is not None:
            if again:  # as pytest-rerunfailures asks for
                self.scheduler.mark_test_pending(died_in)
            else:
                self.crashed.append(died_in)
        self._replace()

    def _begin(self) -> None:
        for node in self.working:
            node.begin()

    @rule()
    def wait(self) -> None:
        self.clock.now += 0.1

    @invariant()
    def nobody_runs_what_another_has_run(self) -> None:
        given = self.ran + [node.running for node in self.working if node.running is not None]
        assert len(set(given)) == len(given)

    @invariant()
    def nobody_runs_anything_while_another_starts(self) -> None:
        if hasattr(self, "starting") and self.starting:
            assert not self.ran
            assert not any(node.messages for node in self.working)

    def teardown(self) -> None:
        """Let everybody go on to the end: every test has been run, or killed its worker."""
        if hasattr(self, "scheduler"):
            for _ in range(len(self.ids) + 2):
                self._take_in_all()
                busy = [node for node in self.working if node.running is not None]
                for node in busy:
                    self._finish(node, 0.1)
            assert self.scheduler.tests_finished
            crashed = [self.ids.index(each) for each in self.crashed]
            assert sorted(self.ran + crashed) == list(range(len(self.ids)))

    def _take_in_all(self) -> None:
        for node in self.coming:
            self._note_start(node)
            self.scheduler.add_node(node)
        for node in self.coming + self.collecting:
            self.scheduler.add_node_collection(node, list(self.ids))
            self.scheduler.schedule()
        self.working += self.coming + self.collecting
        self.coming, self.collecting = [], []
        if self.scheduler.tests_finished:
            for node in self.working:
                node.shutdown()
        self._begin()


TestRun = Run.TestCase
TestRun.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
