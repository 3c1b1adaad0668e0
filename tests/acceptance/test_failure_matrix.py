"""Whatever dies, hangs or misbehaves in a run: every test is accounted for and nothing is left.

The rows are what was seen to go wrong with pytest-xdist and with killed process trees.
"""

from __future__ import annotations

import dataclasses
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_valor_schedule import get_job_status, list_jobs
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import dispatcher, watcher
from pytest_valor_schedule.env import JOB_ID_VARIABLE
from pytest_valor_schedule.process.identity import Identity
from pytest_valor_schedule.queue.store import JobStore
from tests.support.scheduled import (
    GATED,
    open_gate,
    results_of,
    run_pytest,
    schedule,
    scheduled_id,
)
from tests.support.waiting import processes_marked, serving, wait_until

pytestmark = pytest.mark.home_in_use

ONCE = """
import os, pathlib, signal, sys, time
import pytest

def once(name="once"):
    "Return whether this is the first time in the project that it is asked."
    try:
        pathlib.Path(__file__).with_name(name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
"""
CONTROLLER = "os.getsid(0)"  # it leads the session of its job
FORK_SERVER = "os.getppid()"
STALL = ("-o", "valor_schedule_stall_minutes=0.08")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that goes wrong.

    Attributes:
        name: For people.
        test: The body of the bad test; it stands between good ones.
        conftest: Of the project.
        arguments: Of pytest.
        workers: How many.
        bad: What becomes of the bad test.
        others: What may become of the good ones.
        outcome: That of the job.
        message: Part of the bad test's message.
        shows_where: Whether its stack is in the bad test's result.
        explanation: Part of the job's explanation.
    """

    name: str
    test: str = "pass"
    conftest: str = ""
    arguments: tuple[str, ...] = ()
    workers: int = 2
    bad: str = "passed"
    others: frozenset[str] = frozenset({"passed"})
    outcome: str = "passed"
    message: str = ""
    shows_where: bool = False
    explanation: str = ""


def _crash(name: str, test: str, message: str, **more: object) -> Row:
    return Row(name=name, test=test, bad="crashed", outcome="failed", message=message, **more)  # type: ignore[arg-type]


NOT_RUN = frozenset({"passed", "not_run"})
REPLACE = """if {'VALOR_SCHEDULE_JOB_ID', 'PYTEST_XDIST_WORKER'} <= os.environ.keys():
    patch = pytest.MonkeyPatch()
    patch.setattr('os.getpid', lambda: 4711)
    patch.setattr('os.write', lambda file, data: len(data))
    patch.setattr('json.dumps', lambda *_, **__: '{}')
    patch.setattr('time.time', lambda: 'now')
"""
KILL_SELF = "os.kill(os.getpid(), signal.SIGKILL)"
SEVERAL_FAIL = "def pytest_runtest_setup(item): assert item.name[-1] not in '123'"
ROWS = [
    _crash(
        "segfault", "os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV", shows_where=True, workers=1
    ),
    _crash("pipe-held-by-child", f"if os.fork() == 0: time.sleep(60)\n    {KILL_SELF}", "SIGKILL"),
    _crash("no-restart", KILL_SELF, "SIGKILL", arguments=("--max-worker-restart=0",)),
    *(
        _crash(f"{dist}-crash", KILL_SELF, "SIGKILL", arguments=("--dist", dist))
        for dist in ("loadfile", "loadscope", "loadgroup", "worksteal")
    ),
    Row(name="fork-server-killed", test=f"os.kill({FORK_SERVER}, 9)", workers=1),
    _crash(
        "fork-server-and-worker-killed",
        f"os.kill({FORK_SERVER}, 9); {KILL_SELF}",
        "SIGKILL",
        workers=1,
    ),
    _crash(
        "group-killed",
        "os.killpg(0, signal.SIGKILL); time.sleep(60)",
        "killed the run, and once",
        workers=1,
    ),
    Row(
        name="worker-killed-in-bootstrap",
        conftest="def pytest_configure_node(node):\n"
        "    if node.gateway.id == 'gw1' and once(): node.gateway._io.popen.kill()",
    ),
    _crash(
        "replacement-killed-in-bootstrap",
        KILL_SELF,
        "SIGKILL",
        conftest="def pytest_configure_node(node):\n"
        "    if node.gateway.id == 'gw2' and once(): node.gateway._io.popen.kill()",
    ),
    Row(
        name="pytest-exit",
        test="pytest.exit('enough')",
        bad="not_run",
        others=NOT_RUN,
        outcome="incomplete",
        message="enough",
        explanation="enough",
    ),
    Row(
        name="pytest-exit-with-code",
        workers=1,
        test="pytest.exit('enough', returncode=3)",
        bad="not_run",
        others=NOT_RUN,
        outcome="incomplete",
        message="enough",
        explanation="pytest stopped (enough)",
    ),
    Row(
        name="pytest-exit-with-0",
        workers=1,
        test="pytest.exit('enough', returncode=0)",
        bad="not_run",
        others=NOT_RUN,
        outcome="incomplete",
        message="enough",
    ),
    Row(
        name="keyboard-interrupt-in-a-test",
        test="raise KeyboardInterrupt",
        bad="not_run",
        others=NOT_RUN,
        outcome="incomplete",
    ),
    *(
        Row(
            name=f"controller-{number.name}",
            test=f"if once(): os.kill({CONTROLLER}, {int(number)}); time.sleep(60)",
            workers=1,
        )
        for number in (signal.SIGTERM, signal.SIGHUP)
    ),
    Row(
        name="controller-SIGKILL",
        test=f"if once(): os.kill({CONTROLLER}, signal.SIGKILL); time.sleep(60)",
        conftest=SEVERAL_FAIL,
        others=frozenset({"passed", "error"}),
        outcome="failed",
    ),
    Row(
        name="controller-SIGINT",
        test=f"os.kill({CONTROLLER}, signal.SIGINT); time.sleep(60)",
        bad="not_run",
        others=NOT_RUN,
        outcome="incomplete",
    ),
    Row(
        name="conftest-fails-in-workers",
        conftest="def pytest_configure(config):\n"
        "    if hasattr(config, 'workerinput'): raise RuntimeError('not here')",
        bad="not_run",
        others=frozenset({"not_run"}),
        outcome="error",
        explanation="No test ran: ",
        workers=1,
    ),
    Row(
        name="worker-ends-while-it-starts",
        conftest="def pytest_sessionstart(session):\n"
        "    if getattr(session.config, 'workerinput', {}).get('workerid') == 'gw1': os._exit(1)",
    ),
    Row(
        name="worker-hangs-while-it-starts",
        conftest="def pytest_configure(config):\n"
        "    if getattr(config, 'workerinput', {}).get('workerid') == 'gw1': time.sleep(60)",
        arguments=STALL,
        outcome="failed",
        explanation="nothing happened",
    ),
    Row(
        name="internal-error-in-a-worker",
        conftest="def pytest_runtest_logfinish(nodeid):\n"
        "    if 'bad' in nodeid and 'PYTEST_XDIST_WORKER' in os.environ and once(): 1 / 0",
        explanation="run once more, because at first pytest had an internal error",
        workers=1,  # with two the bad test may be the last one
    ),
    Row(
        name="collection-differs",
        conftest="def pytest_collection_modifyitems(config, items):\n"
        "    if getattr(config, 'workerinput', {}).get('workerid') == 'gw1': items.pop()\n"
        "@pytest.hookimpl(trylast=True)\n"
        "def pytest_collection_finish(session):\n"
        "    if getattr(session.config, 'workerinput', {}).get('workerid') == 'gw1': once()",
        test="while not os.path.exists('once'): time.sleep(0.01)",
        outcome="failed",
        explanation="another collection in worker gw1",
    ),
    _crash(
        "replacement-collects-something-else",
        KILL_SELF,
        "SIGKILL",
        conftest="def pytest_collection_modifyitems(config, items):\n"
        "    if getattr(config, 'workerinput', {}).get('workerid') == 'gw2': items.pop(0)",
    ),
    Row(name="test-replaces-what-we-use", test=REPLACE.replace("\n", "\n    "), workers=1),
    Row(name="conftest-replaces-what-we-use", conftest=REPLACE, workers=1),
    Row(
        name="hang",
        test="time.sleep(60)",
        arguments=STALL,
        bad="failed",
        outcome="failed",
        message="hung: nothing happened",
        explanation="nothing happened for 0.08 minutes",
    ),
    Row(
        name="worker-stopped",
        test="os.kill(os.getpid(), signal.SIGSTOP)",
        arguments=STALL,
        bad="failed",
        outcome="failed",
        message="hung: nothing happened",
    ),
    Row(
        name="session-fixture-hangs-at-its-end",
        conftest="@pytest.fixture(scope='session', autouse=True)\n"
        "def hanging():\n    yield\n    time.sleep(60)",
        arguments=STALL,
        outcome="failed",
        bad="failed",
        explanation="nothing happened",
    ),
    Row(
        name="daemons",
        test="import daemons; daemons.start_all()",
        workers=1,
    ),
]
IN_ONE_JOB = [
    _crash("os_exit", "os._exit(7)", "exit code 7"),
    _crash("os_exit_0", "os._exit(0)", "exit code 0"),
    _crash("killed", KILL_SELF, "probably out of memory"),
    Row(
        name="text_that_cannot_be_sent",
        test=r"assert 'a\ud800' == 'b'",
        bad="failed",
        message="assert 'a",
    ),
    Row(name="attribute_that_cannot_be_sent"),
    Row(
        name="property_that_cannot_be_sent",
        test="request.node.user_properties.append(('x', object()))",
    ),
    Row(
        name="limit",
        test="time.sleep(60)",
        bad="failed",
        message="ran longer than its limit of 1.5 s",
    ),
    Row(
        name="limit_holding_the_gil",
        test="3 ** (10 ** 8)",
        bad="failed",
        message="ran longer than its limit of 1.5 s",
        shows_where=True,
    ),
    Row(
        name="protocol_without_a_report",
        bad="skipped",
        message="nothing was reported of it",
    ),
]
"""What costs no other test its worker for good: one job on one worker may have them all."""
ODD_REPORTS = """
def pytest_runtest_protocol(item):
    return item.name == "test_protocol_without_a_report" or None
@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if item.name == "test_attribute_that_cannot_be_sent":
        report.more = {"of": object}
    return report
"""

DAEMONS = '''
"""Descendants that get away from most ways of killing a tree."""
import os, signal, subprocess, sys, time

def start(code, **more):
    quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return subprocess.Popen([sys.executable, "-S", "-c", code, __file__], **quiet, **more)

SLEEP = "import time; time.sleep(300)"
FORK = "os.fork() and os._exit(0); "
DOUBLE_FORK = "import os; " + FORK + "os.setsid(); " + FORK + SLEEP
IGNORES_TERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEP
RE_FORKS = """
import os, time
end = time.monotonic() + 60
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
    os.setsid()
    time.sleep(0.002)
"""

def start_all(unmarked=True):
    start(SLEEP)
    start(SLEEP, start_new_session=True)
    start(DOUBLE_FORK)
    start(IGNORES_TERM)
    stopped = start(SLEEP)
    os.kill(stopped.pid, signal.SIGSTOP)
    if unmarked:
        start(RE_FORKS)
        start(DOUBLE_FORK, env={})
        start(RE_FORKS, env={})
'''


def _write_project(row: Row) -> list[str]:
    """Write a project of three files, the bad test in the middle; return the node ids."""
    good = "\n".join(f"def test_{n}(): pass" for n in range(4))
    Path("test_a.py").write_text(good)
    Path("test_b.py").write_text(
        f"{ONCE}\ndef test_before(): pass\ndef test_bad(request):\n    {row.test}\n"
        f"def test_after(): pass\n"
    )
    Path("test_c.py").write_text(good)
    Path("conftest.py").write_text(f"{ONCE}\n{row.conftest}")
    Path("daemons.py").write_text(DAEMONS)
    plain = [f"test_{name}.py::test_{n}" for name in "ac" for n in range(4)]
    return plain + [f"test_b.py::test_{name}" for name in ("before", "bad", "after")]


def _daemons(project: Path) -> set[int]:
    """Return the daemons that a project's tests started, also those without an environment.

    It looks more than once, because the one that forks itself anew is easily missed.
    """
    return {pid for _ in range(30) for pid in _seen_daemons(project)}


def _seen_daemons(project: Path) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"-S\0-c\0" in command and bytes(project / "daemons.py") in command:
            yield int(folder.name)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_test_is_accounted_for_and_nothing_is_left(project: Path, row: Row) -> None:
    """The record has every test, adds up, blames the right one, and no process of the job lives."""
    nodeids = _write_project(row)
    workers = ("--max-workers", str(row.workers))
    job_id = scheduled_id(run_pytest("--schedule", *workers, *row.arguments))
    results = results_of(job_id)
    outcomes = {each["nodeid"]: each["outcome"] for each in results["results"]}
    assert outcomes.keys() == set(nodeids)
    bad = next(each for each in results["results"] if each["nodeid"] == "test_b.py::test_bad")
    told = (results["outcome"], results.get("explanation"), bad)
    if row.name != "session-fixture-hangs-at-its-end":
        assert bad["outcome"] == row.bad, told
        assert results["outcome"] == row.outcome, told
        others = {each for nodeid, each in outcomes.items() if nodeid != bad["nodeid"]}
        assert others <= row.others, told
    assert row.message in bad.get("message", ""), told
    shows_where = re.search(r'test_b.py", line \d+ in test_bad', bad.get("longrepr", ""))
    assert shows_where or not row.shows_where, told
    assert row.explanation in results.get("explanation", ""), told
    assert processes_marked(f"{JOB_ID_VARIABLE}={job_id}") == []
    assert "daemons" not in row.test or _daemons(project) == set()


def test_one_job_may_have_many_of_them(project: Path) -> None:
    """One after the other, each is blamed for what it did, and those between them have passed."""
    bodies = (f"def test_{row.name}(request):\n    {row.test}\n" for row in IN_ONE_JOB)
    good = (f"def test_{n}(): pass\n" for n in range(len(IN_ONE_JOB)))
    Path("test_b.py").write_text(ONCE + "".join(map("".join, zip(bodies, good, strict=True))))
    Path("conftest.py").write_text(f"{ONCE}\n{ODD_REPORTS}")
    options = ("--max-worker-restart=9", "-o", "valor_schedule_test_timeout=1.5")
    job_id = schedule("--max-workers", "1", *options)
    results = results_of(job_id)
    found = {each["nodeid"].removeprefix("test_b.py::test_"): each for each in results["results"]}
    for row in IN_ONE_JOB:
        bad = found.pop(row.name)
        assert bad["outcome"] == row.bad, bad
        assert row.message in bad.get("message", ""), bad
        where = re.search(rf'test_b.py", line \d+ in test_{row.name}', bad.get("longrepr", ""))
        assert where or not row.shows_where, bad
    assert found.keys() == {str(n) for n in range(len(IN_ONE_JOB))}
    assert {each["outcome"] for each in found.values()} == {"passed"}
    assert (results["outcome"], results.get("explanation")) == ("failed", None)
    assert processes_marked(f"{JOB_ID_VARIABLE}={job_id}") == []


@pytest.mark.parametrize("who", ["runner", "dispatcher", "both"])
def test_next_call_of_any_kind_notices(project: Path, home: Home, who: str) -> None:
    """After the runner, who serves the home, or both are killed, a look at the list is enough."""
    unmarked = who != "both"  # else nobody's children, and a look can miss them
    quick = f"def test_quick(): daemons.start_all({unmarked})"
    Path("test_a.py").write_text(f"import daemons\n{quick}\n{GATED}")
    Path("daemons.py").write_text(DAEMONS)
    job_id = scheduled_id(run_pytest("--schedule", "--max-workers", "1"))
    wait_until(
        lambda: get_job_status(job_id).get("progress", {}).get("finished") == 1,
        "the quick test has finished",
    )
    with JobStore(home) as store:
        runs = Identity.from_text(store.claim(job_id) or "")
    [watches], [serves] = (serving(home.root, each) for each in (watcher.NAME, dispatcher.NAME))
    doomed = {"runner": [runs.pid], "dispatcher": [watches, serves]}
    for pid in doomed.get(who, [runs.pid, watches, serves]):
        os.kill(pid, signal.SIGKILL)
    if who == "dispatcher":
        open_gate()
    wait_until(
        lambda: job_id in [each["job_id"] for each in list_jobs("completed")["jobs"]],
        "the list shows it as completed",
    )
    outcomes = {each["nodeid"]: each["outcome"] for each in results_of(job_id)["results"]}
    slow = "passed" if who == "dispatcher" else "not_run"
    assert outcomes == {"test_a.py::test_quick": "passed", "test_a.py::test_gated": slow}
    wait_until(lambda: not processes_marked(f"{JOB_ID_VARIABLE}={job_id}"), "no process lives")
    assert _daemons(project) == set()
