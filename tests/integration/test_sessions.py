"""A session collects once, waits for its turn, and runs the tests itself."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule import cancel_job, get_job_status, list_jobs, schedule_tests
from pytest_valor_schedule.client import session
from pytest_valor_schedule.client.session import SessionRequest
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.env import JOB_ID_VARIABLE
from pytest_valor_schedule.model.run_request import parse_request
from pytest_valor_schedule.process import messages
from pytest_valor_schedule.process.identity import Identity
from pytest_valor_schedule.queue.store import JobStore
from tests.support.scheduled import GATED, open_gate, results_of, run_pytest, scheduled_id
from tests.support.waiting import processes_marked, wait_until

pytestmark = [
    pytest.mark.home_in_use,
    pytest.mark.sessions,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks sessions"),
]

COUNTED = """
from pathlib import Path
with open("collections", "a") as file: file.write("1")
"""


@pytest.fixture(autouse=True)
def warm_dispatcher(project: Path, home: Home) -> None:
    """A dispatcher is up that has a warm interpreter."""
    Path("test_first.py").write_text("def test_first(): pass")
    wait_until(lambda: _results(_scheduled())["ran_in"] == "session", "sessions are to be had")
    Path("test_first.py").unlink()


def _scheduled(arguments: str = "", **more: Any) -> str:
    options = {"max_workers": 1, **more}
    answer = schedule_tests(f"pytest -p no:cacheprovider --color=no {arguments}", **options)
    assert "error" not in answer, answer
    return str(answer["job_id"])


def _results(job_id: str) -> dict[str, Any]:
    """Return the results of a job when it has ended, and all else that is known of it."""
    return {**results_of(job_id), **get_job_status(job_id)}


def _outcomes(results: dict[str, Any]) -> list[str]:
    return [each["outcome"] for each in results["results"]]


def _is_parked(home: Home, job_id: str) -> bool:
    with JobStore(home) as store:
        return Identity.alive_in(store.claim(job_id)) is not None


def test_tests_are_collected_once_and_run_where_they_were_collected(project: Path) -> None:
    """A project sees one plain pytest; ids that differ at each collection are no matter."""
    Path("conftest.py").write_text(COUNTED)
    Path("test_it.py").write_text(
        "import os, sys, time, pytest\n"
        "COLLECTED_IN = os.getpid()\n"
        "@pytest.mark.parametrize('moment', [time.time_ns(), time.time_ns() + 1])\n"
        "def test_here(moment, request):\n"
        "    assert os.getpid() == COLLECTED_IN and not hasattr(request.config, 'workerinput')\n"
        "    assert 'PYTEST_XDIST_WORKER' not in os.environ\n"
        "def test_slot(schedule_slot): assert schedule_slot in (0, 1)\n"
        "def test_bad_1(): assert 0\n"
        "def test_bad_2(): assert 0\n"
    )
    results = _results(_scheduled())
    assert results["summary"]["passed"] == 3
    assert results["summary"]["failed"] == 2
    assert {each["worker"] for each in results["results"]} == {"main"}
    assert Path("collections").read_text() == "1"


def test_two_sessions_have_different_slots(project: Path) -> None:
    """Each session of two that run at the same time has a slot of its own."""
    Path("test_it.py").write_text(
        "from pathlib import Path\n" + GATED.replace("test_gated():", "test_gated(schedule_slot):")
        .replace("    while", "    Path(f'slot{schedule_slot}').touch()\n    while")
    )  # fmt: skip
    jobs = [_scheduled(), _scheduled()]
    wait_until(lambda: Path("slot0").exists() and Path("slot1").exists(), "both run")
    open_gate()
    assert [_results(each)["outcome"] for each in jobs] == ["passed", "passed"]


def test_deaths_are_blamed_on_the_tests_and_the_rest_goes_on(project: Path) -> None:
    """Whatever ends a session, and however often: in a body, in a teardown, in a fixture."""
    Path("test_it.py").write_text(
        "import os, pytest\n"
        "@pytest.fixture\ndef ends():\n    yield\n    os._exit(0)\n"
        "def test_0(): pass\n"
        "def test_1():\n    print('last words')\n    os._exit(3)\n"
        "def test_2(): assert 0\n"
        "def test_3(): os.abort()\n"
        "def test_4(ends): pass\n"
        "def test_5(): pass\n"
    )
    results = _results(_scheduled("--junit-xml=report.xml"))
    expected = {"passed": 2, "failed": 1, "crashed": 3}
    assert {name: results["summary"][name] for name in expected} == expected
    first = results["results"][1]
    assert (first["outcome"], first["message"]) == ("crashed", "killed pytest (exit code 3)")
    assert ["Captured stdout", "last words\n"] in first["sections"]
    assert 'test_it.py", line 9 in test_1' in first["longrepr"]
    assert results["outcome"] == "failed"
    assert 'tests="6"' in Path("report.xml").read_text()


def test_tests_that_hang_are_ended_each(project: Path) -> None:
    """The limit of a single test holds in a session too, for two of them."""
    Path("test_it.py").write_text(
        "import time\n"
        "def test_0(): time.sleep(60)\ndef test_1(): pass\n"
        "def test_2(): time.sleep(60)\ndef test_3(): assert 0\n"
    )
    results = _results(_scheduled("-o valor_schedule_test_timeout=0.5"))
    assert _outcomes(results) == ["failed", "passed", "failed", "failed"]
    assert "ran longer than its limit of 0.5 s" in results["results"][2]["message"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [("-x", "1 failed"), ("--maxfail=2", "2 failed"), ("-k 'not bad and not end'", "1 passed")],
)
def test_a_run_ends_early_as_plain_pytest_does(
    project: Path, arguments: str, expected: str
) -> None:
    """What -x and its like do, and what is not run for it, is told."""
    Path("test_it.py").write_text(
        "import pytest\n"
        "def test_bad_0(): assert 0\ndef test_bad_1(): assert 0\ndef test_bad_2(): assert 0\n"
        "def test_end(): pytest.exit('enough', 7)\ndef test_good(): pass\n"
    )
    job_id = _scheduled(arguments)
    summary = _results(job_id)["summary"]
    word = expected.split()[1]
    assert f"{summary[word]} {word}" == expected
    assert get_job_status(job_id)["rounds"] == 1


def test_pytest_exit_ends_it_with_its_code(project: Path) -> None:
    """The rest is not run, and it is said why."""
    Path("test_it.py").write_text(
        "import pytest\ndef test_0(): pass\ndef test_1(): pytest.exit('enough', 7)\n"
        "def test_2(): pass\n"
    )
    job_id = _scheduled()
    status = get_job_status(_results(job_id)["job_id"])
    assert (status["outcome"], status["exit_code"]) == ("incomplete", 7)
    assert "enough" in status["explanation"]


def test_what_is_tested_is_the_code_at_the_start_of_the_run(
    project: Path, home: Home, one_slot: None
) -> None:
    """Jobs that wait while their modules, data or folders change collect anew; others do not."""
    Path("test_gate.py").write_text(GATED)
    gate = _scheduled("test_gate.py")
    wait_until(lambda: get_job_status(gate)["status"] == "running", "the gate is there")
    folders = ("module", "data", "folder", "same")
    for name in folders:
        folder = Path(name)
        folder.mkdir()
        folder.joinpath("pytest.ini").write_text("[pytest]")
        folder.joinpath("data.json").write_text("1")
        folder.joinpath("mine.py").write_text("VALUE = 1")
        folder.joinpath("test_it.py").write_text(
            "import json, pytest\nfrom mine import VALUE\n"
            "from pathlib import Path\n"
            "DATA = json.loads(Path(__file__).with_name('data.json').read_text())\n"
            "def test_it(): assert (VALUE, DATA) == (1, 1)\n"
        )
    jobs = {
        name: _scheduled(f"--rootdir={name} {name}")
        for name in ("module", "data", "folder", "same")
    }
    assert all(_is_parked(home, each) for each in jobs.values())
    Path("module/mine.py").write_text("VALUE = 'another'")
    Path("data/data.json").write_text("'another'".replace("'", '"'))
    Path("folder/test_more.py").write_text("def test_more(): assert 0")
    open_gate()
    results = {name: _results(each) for name, each in jobs.items()}
    assert {name: each["ran_in"] for name, each in results.items()} == {
        "module": "workers",
        "data": "workers",
        "folder": "workers",
        "same": "session",
    }
    assert results["module"]["outcome"] == results["data"]["outcome"] == "failed"
    assert results["same"]["outcome"] == "passed"
    assert get_job_status(jobs["module"])["not_in_session"] == (
        "mine.py has changed since the tests were collected."
    )


def test_nothing_is_left_of_sessions_that_are_not_wanted(
    project: Path, home: Home, one_slot: None
) -> None:
    """Neither of a cancelled job, nor of one that is killed, whose job runs all the same."""
    Path("test_gate.py").write_text(GATED)
    Path("test_it.py").write_text("def test_0(): pass\ndef test_1(): assert 0\n")
    gate = _scheduled("test_gate.py")
    wait_until(lambda: get_job_status(gate)["status"] == "running", "the gate is there")
    cancelled, killed = _scheduled("test_it.py"), _scheduled("test_it.py")
    cancel_job(cancelled)
    wait_until(lambda: not processes_marked(f"{JOB_ID_VARIABLE}={cancelled}"), "it has ended")
    with JobStore(home) as store:
        runner = Identity.alive_in(store.claim(killed))
    assert runner is not None
    os.kill(runner.pid, signal.SIGKILL)
    wait_until(lambda: not processes_marked(f"{JOB_ID_VARIABLE}={killed}"), "its session has ended")
    open_gate()
    results = _results(killed)
    assert (results["ran_in"], _outcomes(results)) == ("workers", ["passed", "failed"])
    assert get_job_status(cancelled)["status"] == "cancelled"


def test_few_sessions_wait_at_a_time(project: Path, home: Home, one_slot: None) -> None:
    """Of many jobs that wait most have no process, and yet all run."""
    Path("test_gate.py").write_text(GATED)
    Path("test_it.py").write_text("def test_0(): pass\n")
    gate = _scheduled("test_gate.py")
    wait_until(lambda: get_job_status(gate)["status"] == "running", "the gate is there")
    jobs = [_scheduled("test_it.py") for _ in range(11)]
    parked = [_is_parked(home, each) for each in jobs]
    assert 1 <= sum(parked) <= 8
    assert parked[-1]
    open_gate()
    assert {_results(each)["outcome"] for each in jobs} == {"passed"}


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        ("", {"test_it.py": "import nothing_of_that_name\n"}),
        ("", {"test_it.py": "def test_it(): pass\n", "conftest.py": "1/0\n"}),
        ("-k nothing", {"test_it.py": "def test_it(): pass\n"}),
        ("--no-such-option", {"test_it.py": "def test_it(): pass\n"}),
        ("--collect-only", {"test_it.py": "def test_it(): pass\n"}),
        ("--pdb", {"test_it.py": "def test_it(): pass\n"}),
        ("--dist no", {"test_it.py": "def test_it(): pass\n"}),
        ("-o valor_schedule_order=nonsense", {"test_it.py": "def test_it(): pass\n"}),
    ],
)
def test_what_cannot_be_scheduled_is_told_as_without_a_session(
    project: Path,
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    files: dict[str, str],
) -> None:
    """The same sentence, exit code and output; and nothing is left of the session."""
    for name, text in files.items():
        Path(name).write_text(text)
    before = {each.name for each in home.jobs.iterdir()}
    command = f"pytest --color=no -p no:cacheprovider {arguments}"
    in_session = schedule_tests(command)
    monkeypatch.setattr(session, "ask", lambda *_: None)
    without = schedule_tests(command)
    assert "error" in in_session
    assert _without_times(in_session) == _without_times(without)
    wait_until(lambda: {each.name for each in home.jobs.iterdir()} == before, "nothing is left")


def _without_times(answer: Any) -> dict[str, Any]:
    output = str(answer.get("output", "")).rpartition(" in ")[0]
    return {**answer, "output": output}


def test_who_goes_while_tests_are_collected_leaves_nothing(project: Path, home: Home) -> None:
    """Neither a job, nor a folder, nor a process of a collection for which nobody waits."""
    Path("test_it.py").write_text(
        "import pathlib, time\npathlib.Path('collecting').touch()\ntime.sleep(60)\n"
    )
    before = {each.name for each in home.jobs.iterdir()}
    request = parse_request("pytest -p no:cacheprovider", None)
    with messages.connect(home.session_socket) as connection:
        messages.send(connection, SessionRequest(request=request, options={}).to_json())
        assert messages.receive(connection) is not None
        wait_until(Path("collecting").exists, "it collects")
    wait_until(lambda: {each.name for each in home.jobs.iterdir()} == before, "nothing is left")


@pytest.mark.parametrize("content", [b"", b"x", b"m" * 100])
def test_nonsense_at_the_socket_harms_nobody(project: Path, home: Home, content: bytes) -> None:
    """Who talks nonsense, or nothing and goes, gets no answer; the next one is served."""
    with messages.connect(home.session_socket) as connection:
        connection.sendall(content)
        with contextlib.suppress(ConnectionResetError):
            connection.shutdown(socket.SHUT_WR)
            assert not connection.recv(1)
    Path("test_it.py").write_text("def test_0(): pass\ndef test_1(): pass\n")
    assert _results(_scheduled())["ran_in"] == "session"


@pytest.mark.parametrize(
    ("arguments", "test"),
    [
        ("-o valor_schedule_inline=never", "def test_it(): pass"),
        ("-o valor_schedule_fork_workers=false", "def test_it(): pass"),
        ("-n 1", "def test_it(): pass"),
        ("", "def test_it(worker_id): assert worker_id == 'gw0'"),
    ],
)
def test_a_run_that_needs_a_worker_has_one(project: Path, arguments: str, test: str) -> None:
    """By the setting, by the command line, or because the project asks for its id."""
    Path("test_it.py").write_text(f"{test}\ndef test_other(): assert 0\n")
    results = _results(_scheduled(arguments))
    assert (results["ran_in"], _outcomes(results)) == ("workers", ["passed", "failed"])


def test_more_workers_are_forked_from_what_was_collected(project: Path) -> None:
    """Two workers, of which each dies once: nothing is collected again, nothing is lost."""
    Path("conftest.py").write_text(COUNTED)
    Path("test_it.py").write_text(
        "import os, time, pytest\n"
        "COLLECTED_IN = os.getppid()\n"
        "@pytest.mark.parametrize('moment', [time.time_ns() + n for n in range(4)])\n"
        "def test_here(moment, worker_id, tmp_path):\n"
        "    assert worker_id.startswith('gw')\n"
        "    time.sleep(0.05)\n"
        "def test_bad_1(): assert 0\ndef test_bad_2(): assert 0\n"
        "def test_killed_1(): os._exit(3)\ndef test_killed_2(): os.abort()\n"
    )
    results = _results(_scheduled("-p no:rerunfailures", max_workers=2))
    expected = {"passed": 4, "failed": 2, "crashed": 2}
    assert {name: results["summary"][name] for name in expected} == expected
    assert (results["ran_in"], results["rounds"]) == ("forked_workers", 1)
    assert Path("collections").read_text() == "1"


def test_workers_are_started_where_a_fork_would_share_something(project: Path) -> None:
    """What the collection leaves behind, such as a thread, is told as the reason."""
    Path("test_it.py").write_text(
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "def test_0(): pass\ndef test_1(): assert 0\n"
    )
    results = _results(_scheduled("-p no:rerunfailures", max_workers=2))
    assert (results["ran_in"], _outcomes(results)) == ("workers", ["passed", "failed"])
    assert "hread" in results["not_in_session"]


def test_a_terminal_shows_the_session_as_if_it_were_its_own_pytest(project: Path) -> None:
    """Line for line what plain pytest prints, once; and no conftest.py is imported here."""
    Path("conftest.py").write_text(COUNTED)
    Path("test_it.py").write_text(
        "def test_0(): pass\ndef test_1(): assert 0\ndef test_2(): print('x'); assert 0\n"
    )
    plain = run_pytest("--color=no", "-p", "no:cacheprovider")
    assert Path("collections").read_text() == "1"
    waiting = ("--schedule-wait", "--max-workers=1", "--color=no", "-p", "no:cacheprovider")
    done = run_pytest(*waiting)
    assert Path("collections").read_text() == "11"
    assert done.returncode == plain.returncode == 1
    first, *lines = done.stdout.splitlines()
    assert first.startswith("scheduled ")
    assert _without_seconds(lines) == _without_seconds(plain.stdout.splitlines())


def _without_seconds(lines: list[str]) -> list[str]:
    kept = [line for line in lines if not line.startswith("plugins: ")]  # xdist comes by name
    return [re.sub(r"=+ | in [0-9.]+s =+", "", line) for line in kept]


def test_who_does_not_wait_sees_the_collection_and_the_receipt(project: Path) -> None:
    """And nothing of the run, which may begin before the last line is printed."""
    Path("test_it.py").write_text("def test_0(): pass\ndef test_1(): assert 0\n")
    done = run_pytest("--schedule", "--max-workers=1", "--color=no")
    assert done.returncode == 0
    assert "collected 2 items" in done.stdout
    assert "wait:" in done.stdout
    assert "assert 0" not in done.stdout
    assert _results(scheduled_id(done))["ran_in"] == "session"


@pytest.mark.parametrize("how", ["--schedule", "--schedule-wait"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing_here",),
        ("-k", "nothing"),
        ("--no-such-option",),
        ("--max-workers=0",),
        ("--dist=no",),
    ],
)
def test_what_cannot_run_is_told_in_the_terminal_as_ever(
    project: Path, how: str, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With pytest's own words and exit code, with a session and without one."""
    Path("test_it.py").write_text("def test_0(): pass\n")
    command = (how, "--color=no", "-p", "no:cacheprovider", *arguments)
    done = run_pytest(*command)
    monkeypatch.setenv("VALOR_HOME", str(project / "home"))  # which nobody serves
    without = run_pytest(*command)
    assert done.returncode == without.returncode != 0
    assert _errors(done) == _errors(without)
    assert not list_jobs("scheduled")["jobs"]


def test_a_wrong_word_for_sessions_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence, to a terminal and to a program, and nothing is scheduled or traced back."""
    Path("test_it.py").write_text("def test_0(): pass\n")
    monkeypatch.setenv("VALOR_SCHEDULE_SESSIONS", "perhaps")
    answer = schedule_tests("pytest")
    assert "VALOR_SCHEDULE_SESSIONS" in answer.get("error", "")
    done = run_pytest("--schedule")
    assert "Traceback" not in done.stdout + done.stderr


def _errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines that say what is wrong; a session has both streams in one."""
    lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    return [line for line in lines if line.startswith(("ERROR: ", "pytest: error: "))]


def test_who_interrupts_the_collection_leaves_nothing(project: Path, home: Home) -> None:
    """Ctrl-C ends the collection of a session, and says that there is no job."""
    Path("test_it.py").write_text(
        "import pathlib, time\npathlib.Path('collecting').touch()\ntime.sleep(60)\n"
    )
    before = {each.name for each in home.jobs.iterdir()}
    command = [sys.executable, "-m", "pytest", "--schedule", "-p", "no:cacheprovider"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        wait_until(Path("collecting").exists, "it collects")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "nothing is scheduled" in output
    wait_until(lambda: {each.name for each in home.jobs.iterdir()} == before, "nothing is left")


def test_a_session_of_low_priority_leaves_the_cpu_to_others(project: Path) -> None:
    """As a job that is started does; the next one is as nice as ever."""
    Path("test_it.py").write_text("import os\ndef test_it(): print(os.nice(0)); assert 0\n")
    nices = []
    for priority in ("low", "normal"):
        results = _results(_scheduled(priority=priority))
        assert results["ran_in"] == "session"
        [(_, printed)] = results["results"][0]["sections"]
        nices.append(int(printed))
    assert nices == [min(19, os.nice(0) + 10), os.nice(0)]


def test_the_durations_leave_out_the_waiting(project: Path, one_slot: None) -> None:
    """What pytest prints and reports as its time is that of the run."""
    Path("test_gate.py").write_text(GATED)
    Path("test_it.py").write_text("def test_0(): pass\n")
    gate = _scheduled("test_gate.py")
    wait_until(lambda: get_job_status(gate)["status"] == "running", "the gate is there")
    job_id = _scheduled("test_it.py --junit-xml=report.xml")
    waiting_since = time.monotonic()
    wait_until(lambda: time.monotonic() - waiting_since > 2.5, "it has waited for a while")
    open_gate()
    assert _results(job_id)["ran_in"] == "session"
    seconds = Path("report.xml").read_text().partition('time="')[2].partition('"')[0]
    assert float(seconds) < 2.5


def test_a_socket_of_a_long_path_can_be_used(tmp_path: Path) -> None:
    """A home may have a longer path than a socket can."""
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    server = messages.listen(folder / "socket")
    with server, messages.connect(folder / "socket") as client:
        connection, _ = server.accept()
        with connection:
            assert messages.is_own(connection)
            messages.send(client, {"text": "\udcff", "number": 7})
            message = messages.receive(connection)
    assert message is not None
    assert message.content == {"text": "\udcff", "number": 7}
    assert (folder / "socket").stat().st_mode & 0o777 == 0o600
