"""What is known of tests whose worker or run died: nothing is lost, no body runs twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.project import project_of
from pytest_valor_schedule.queue.store import JobStore
from tests.support.scheduled import results_of, run_pytest, run_tool, schedule, scheduled_id
from tests.support.waiting import wait_until

pytestmark = pytest.mark.home_in_use

TWO_FILES = ("--max-workers=2", "--dist=loadfile")
"""Each worker gets one of the two files of a project."""

BODIES = """
import os, pathlib, signal, time
import pytest

def once(name):
    "Return whether this is the first time in the project that it is asked."
    try:
        pathlib.Path(name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True

def body(name):
    with open("bodies", "a") as file:
        file.write(name + "\\n")
"""


def _results(*arguments: str) -> dict[str, dict[str, Any]]:
    """Run the project in a job and return the results by the names of the tests."""
    results = results_of(schedule(*arguments))["results"]
    return {each["nodeid"].partition("::")[2]: each for each in results}


def _bodies() -> Counter[str]:
    return Counter(Path("bodies").read_text().split())


def test_a_teardown_that_kills_its_worker_costs_no_body(project: Path) -> None:
    """The test has crashed in its teardown, keeps what it was by then, and is not run again."""
    for name, ends in (("a", "os._exit(4)"), ("b", "os.kill(os.getpid(), signal.SIGKILL)")):
        Path(f"test_{name}.py").write_text(
            f"{BODIES}\n@pytest.fixture\ndef deadly():\n    yield\n    {ends}\n"
            f"def test_{name}_passes(deadly): body('{name}1')\n"
            f"def test_{name}_fails(deadly):\n    body('{name}2')\n    assert 0\n"
            f"def test_{name}_is_well(): body('{name}3')\n"
        )
    results = _results(*TWO_FILES)
    assert _bodies() == Counter(f"{name}{number}" for name in "ab" for number in (1, 2, 3))
    assert {each["outcome"] for name, each in results.items() if "well" in name} == {"passed"}
    for name, how in (("a", "exit code 4"), ("b", "SIGKILL")):
        passes, fails = results[f"test_{name}_passes"], results[f"test_{name}_fails"]
        assert passes["outcome"] == fails["outcome"] == "crashed"
        assert passes["phase"] == fails["phase"] == "teardown"
        assert how in passes["message"]
        assert passes["message"].endswith("in its teardown, after it had passed")
        assert fails["message"].endswith("after it had failed: assert 0")
        assert "assert 0" in fails["longrepr"]


def test_a_controller_that_dies_during_teardowns_costs_no_body(project: Path) -> None:
    """What is known of both tests stays, their teardowns are missing, and the others are run."""
    for name, says in (("a", "pass"), ("b", "assert 0")):
        Path(f"test_{name}.py").write_text(
            f"{BODIES}\n@pytest.fixture\ndef deadly():\n    yield\n    once('torn_{name}')\n"
            f"    while len(list(pathlib.Path().glob('torn_?'))) < 2: time.sleep(0.01)\n"
            f"    if once('killed'): os.kill(os.getsid(0), signal.SIGKILL)\n    time.sleep(60)\n"
            f"def test_{name}_before(): body('{name}1')\n"
            f"def test_{name}(deadly):\n    body('{name}2')\n    {says}\n"
            f"def test_{name}_after(): body('{name}3')\n"
        )
    results = _results(*TWO_FILES)
    assert _bodies() == Counter(f"{name}{number}" for name in "ab" for number in (1, 2, 3))
    missing = "its teardown did not end (was running when the run ended)"
    passed, failed = results.pop("test_a"), results.pop("test_b")
    assert (passed["outcome"], passed["phase"]) == ("passed", "teardown")
    assert passed["message"] == f"passed, but {missing}"
    assert (failed["outcome"], failed["phase"]) == ("failed", "call")
    assert failed["longrepr"].endswith(missing)
    assert passed["unfinished"] is failed["unfinished"] is True
    assert {each["outcome"] for each in results.values()} == {"passed"}
    assert "PASSED test_a.py::test_a  passed, but its teardown" in run_tool("results").stdout


def test_what_crashed_before_it_passed_says_so(project: Path) -> None:
    """With --reruns two tests that kill their worker at first pass with a record of the crashes."""
    pytest.importorskip("pytest_rerunfailures")
    Path("test_it.py").write_text(
        f"{BODIES}\ndef test_a():\n    if once('a'): os.kill(os.getpid(), signal.SIGSEGV)\n"
        "def test_b():\n    if once('b'): os._exit(3)\n"
        "def test_c():\n    assert not once('c')\n"
        "def test_d(): os._exit(4)\n"
    )
    results = _results("--reruns=2", "--max-workers=2")
    a, b, c, d = (results[f"test_{name}"] for name in "abcd")
    assert [each["outcome"] for each in (a, b, c, d)] == ["passed"] * 3 + ["crashed"]
    assert [each["reruns"] for each in (a, b, c, d)] == [1, 1, 1, 2]
    assert [len(each.get("crashes", ())) for each in (a, b, c, d)] == [1, 1, 0, 2]
    assert "(SIGSEGV)" in a["crashes"][0]["message"]
    assert "(exit code 3)" in b["crashes"][0]["message"]
    for each in (a, b):
        assert 'test_it.py", line' in each["crashes"][0]["longrepr"]
    shown = run_tool("results").stdout
    assert "PASSED test_it.py::test_a  before: killed its worker gw" in shown
    assert "(exit code 3)  [1 rerun]" in shown
    assert "test_c" not in shown
    assert "----- before: killed its worker gw" in run_tool("results", "--failed").stdout


NO_PHASE = """
import pytest
from _pytest.runner import runtestprotocol

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):  # as pytest-forked does it
    if "bad" not in item.name:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    text = f"{item.name} CRASHED with signal 11"
    report = pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "???")
    report.sections.append(("captured", f"last words of {item.name}"))
    item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
"""


def test_a_crash_that_killed_no_worker_is_a_failure(project: Path) -> None:
    """A report of no phase keeps its text, and is told from that of a worker that did die."""
    Path("conftest.py").write_text(NO_PHASE)
    for name in "ab":
        Path(f"test_{name}.py").write_text(
            f"import os\ndef test_bad_{name}(): pass\ndef test_{name}(): pass\n"
            f"def test_dies_{name}(): os._exit(5)\ndef test_last_bad_{name}(): pass\n"
        )
    results = _results(*TWO_FILES)
    for name in "ab":
        for bad in (f"test_bad_{name}", f"test_last_bad_{name}"):
            result = results[bad]
            assert (result["outcome"], result["phase"]) == ("failed", "call")
            assert result["message"] == f"{bad} CRASHED with signal 11"
            assert result["sections"] == [["captured", f"last words of {bad}"]]
        assert results[f"test_{name}"]["outcome"] == "passed"
        assert results[f"test_dies_{name}"]["outcome"] == "crashed"


FORGING = """
import json, os, pathlib

def forge(folder):
    absurd = {"moment": "x", "at": 1e300, "pid": "y", "duration": [], "sections": 5, "code": 2**70}
    for name in ("1.1-gw0", "1.1-gw1", "1.1-controller", "1.1-gw9", "1.0-runner", "9.9-gw0", "x"):
        with open(folder / f"{name}.jsonl", "a") as file:
            for kind in ("collected", "start", "report", "down", "hung", "mood", "collected"):
                for nodeid in ("forged", "test_it.py::test_3"):
                    event = {"kind": kind, "id": nodeid, "ids": ["forged"], **absurd}
                    file.write(json.dumps({**event, "worker": "gw0"}) + "\\n")
            for phase in ("setup", "call", "teardown"):
                event = {"kind": "report", "id": "forged", "phase": phase, "outcome": "passed"}
                file.write(json.dumps(event) + "\\n{\\n[]\\n\\xff\\n")
    os.mkfifo(folder / "1.1-gw8.jsonl")

def test_0():
    home, job = os.environ["VALOR_HOME"], os.environ["VALOR_SCHEDULE_JOB_ID"]
    forge(pathlib.Path(home, "test_schedule", "jobs", job))
def test_1(): pass
def test_2(): assert 0
def test_3(): pass
def test_4(): pass
"""


def test_a_test_that_writes_into_the_journals_adds_none(project: Path) -> None:
    """The record has the tests that were collected, and the job ends, whatever is in its folder."""
    Path("test_it.py").write_text(FORGING)
    results = _results("--max-workers=2")
    assert list(results) == [f"test_{number}" for number in range(5)]
    assert results["test_2"]["outcome"] == "failed"
    assert {results[f"test_{number}"]["outcome"] for number in (0, 1, 4)} == {"passed"}


def test_a_process_that_ends_itself_from_a_thread_leaves_evidence(
    project: Path, home: Home
) -> None:
    """As pytest-timeout does it: the crash has its time and stacks, and no history is taught it."""
    for name in "ab":
        Path(f"test_{name}.py").write_text(
            "import os, threading, time\n"
            f"def test_{name}():\n    os.write(2, b'last words of {name}\\n')\n"
            "    threading.Timer(0.3, os._exit, [1]).start()\n    time.sleep(60)\n"
            f"def test_{name}_is_well(): pass\n"
        )
    results = _results(*TWO_FILES, "-s")
    for name in "ab":
        crash = results[f"test_{name}"]
        assert crash["outcome"] == "crashed"
        assert crash["duration_seconds"] >= 0.3
        assert f'test_{name}.py", line 5 in test_{name}' in crash["longrepr"]
        [(_, printed)] = crash["sections"]
        assert f"last words of {name}" in printed
    learned = wait_until(lambda: _learned(home, project), "the durations are learned")
    assert learned == {"test_a_is_well", "test_b_is_well"}


def test_a_crash_is_headed_and_cut_as_other_failures_are(project: Path) -> None:
    """Who waits finds it by its name, with the frames of the tests; so does `results`."""
    project.joinpath("test_it.py").write_text(
        "import os\ndef leave(): os._exit(3)\ndef test_one(): leave()\n"
        "class TestIt:\n    def test_two(self): os.abort()\n"
    )
    done = run_pytest("--schedule-wait", "--max-workers", "2")
    results = run_tool("results", "--failed", scheduled_id(done)).stdout
    assert [line.strip("_ ") for line in done.stdout.splitlines() if line.startswith("__")] == [
        "test_one",
        "TestIt.test_two",
    ]
    for shown in (done.stdout, results):
        frames = [line.rpartition(" in ")[2] for line in shown.splitlines() if '  File "' in line]
        assert frames == ["leave", "test_one", "test_two"]


def _learned(home: Home, project: Path) -> set[str]:
    """Return the names of a project's tests of which the history has a duration."""
    with JobStore(home) as store, store.database.reading() as connection:
        query = "SELECT nodeid FROM durations WHERE project = ?"
        rows = connection.execute(query, (project_of(str(project)),)).fetchall()
    return {row["nodeid"].partition("::")[2] for row in rows}
